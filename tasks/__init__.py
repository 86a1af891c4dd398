"""Prefect tasks, one call into the core each."""
