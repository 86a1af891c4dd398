"""Processes that compute for a run: workers and ranks, how they stop, and how they tell their progress."""
