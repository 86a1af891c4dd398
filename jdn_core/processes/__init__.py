"""Processes that compute for a run: workers and ranks, how they are watched, stopped and never orphaned."""
