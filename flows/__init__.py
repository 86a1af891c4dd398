"""Prefect flows, lists of tasks, and the command line."""
