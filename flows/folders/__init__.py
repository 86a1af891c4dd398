"""A run's folder: chosen, opened, owned, and found again by whoever goes on in it."""
