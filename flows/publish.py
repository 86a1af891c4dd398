"""A search's winner, or any pair, published as Prefect starts it: by hand, or when a search ends."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import registering, whereabouts
from tasks.artifacts import show_model


@flow(name="publish")
def publish(
    search: str, pair: int | None = None, alias: str = "champion", model: str | None = None
) -> dict[str, Any]:
    """Registers a detector in MLflow's Model Registry; a second time only the alias moves.

    Args:
        search: a search's folder, or the id of the flow run that began or last resumed it.
        pair: index of the pair; the best one by H if not given.
        alias: that shall point to the version.
        model: name of the registered model; the search's name if not given.
    """
    published = registering.register(whereabouts.folder_of(search), pair=pair, alias=alias, model=model)
    show_model(published)
    return published._asdict()
