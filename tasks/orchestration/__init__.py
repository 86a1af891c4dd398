"""All that asks Prefect's server: the flow run at hand, its artifacts, flow runs on a work pool."""
