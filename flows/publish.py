"""A search's winner, or any pair, published as Prefect starts it: by hand, or when a search ends."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow

from flows.inputs.folders import is_search
from flows.launch import find, register
from tasks.orchestration.artifacts import show_model


@flow(name="publish")
def publish(
    search: str, pair: int | None = None, alias: str = "champion", model: str | None = None
) -> dict[str, Any]:
    """Registers a detector in MLflow's Model Registry; a second time only the alias moves.

    The search's folder may be on another machine that shares its MLflow server.

    Args:
        search: a search's folder, or the id of the flow run that began or last resumed it.
        pair: index of the pair; the best one by H if not given.
        alias: that will point to the version.
        model: name of the registered model; the search's name if not given.
    """
    found = find.find(search)
    if not is_search(found.folder) and (run_id := find.mlflow_run_of(found)):
        uri = os.environ["MLFLOW_TRACKING_URI"]
        published = register.register_from(run_id, uri, pair=pair, alias=alias, model=model)
    else:
        published = register.register(found.folder, pair=pair, alias=alias, model=model)
    show_model(published)
    return published._asdict()
