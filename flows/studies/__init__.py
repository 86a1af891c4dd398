"""Claims of the paper, tried on the data that a user has; one module each."""
