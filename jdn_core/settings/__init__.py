"""Every setting of a run, in sections with units, ranges and defaults; knows no torch and no YAML."""
