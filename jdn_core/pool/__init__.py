"""The elastic teacher pool (paper, section 3.1.3)."""
