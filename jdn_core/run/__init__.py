"""A run on disk: its folder, its steps from files to files, and what is checked before and after them."""
