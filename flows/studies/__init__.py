"""Claims of the paper, tried on the data that a user has.

A new study is a module here, and its command in ``flows.cli.study``.
"""
