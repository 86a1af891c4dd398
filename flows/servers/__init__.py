"""Prefect's and MLflow's servers on this machine, and what is registered with Prefect's."""
