"""Tells MLflow what was made of a search after its end, where no thread of a search does."""

from __future__ import annotations

from flows.inputs.searches import status
from jdn_core.errors import ServiceUnavailable
from jdn_core.run.folder import Run
from tasks import tracking


def tell(run: Run) -> str | None:
    """Sends all that MLflow does not have; why it was not told, for `jdn sync` sends it later."""
    state = "finished" if status(run.folder)["stage"] == "report" else "interrupted"
    try:
        return tracking.sync(run, state=state).error or None
    except ServiceUnavailable as error:
        return str(error)
