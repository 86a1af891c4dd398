"""Claims of the paper as experiments: arms that are trained, and what their differences say."""
