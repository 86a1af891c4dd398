"""Prefect's and MLflow's servers on this machine, and what they are told that they may start."""
