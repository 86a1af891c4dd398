"""Claims of the paper, tried on the data that a user has.

A study is a value of ``jdn_core.studies``. Those that train are run by ``trained``, those that read finished
searches by ``reading``.
"""
