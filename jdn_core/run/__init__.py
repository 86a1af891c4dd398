"""A run on disk: its folder, its steps from files to files, and what is checked before and after them."""

STEPS = "jdn_core.run.steps"  # the module of all jobs, which the fork server of workers imports once
