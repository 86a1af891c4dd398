"""Claims of the paper, tried on the data that a user has.

A study that trains is a value of ``jdn_core.studies``, and ``flows.studies.trained`` runs all of them.
"""
