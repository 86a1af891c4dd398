"""f_evolve: weights follow the action (paper, section 3.1.2)."""
