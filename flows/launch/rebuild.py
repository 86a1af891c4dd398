"""A search on a machine that has nothing of it: fetched from its run in MLflow, whole, to go on there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flows.console import say, showing_progress
from flows.inputs.folders import is_search, writable
from flows.inputs.settings_file import Override
from flows.launch.requests import of_folder
from jdn_core.errors import UsageError
from jdn_core.run.folder import Run
from jdn_core.run.identity import search_id
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tasks import tracking


def rebuild(run_id: str, out: Path, changes: Sequence[Override] = ()) -> Settings:
    """Makes ``out`` the folder of the search whose run has this id, and returns the settings to go on with.

    Cut off, the same command goes on fetching.

    Args:
        run_id: of the search's run in MLflow.
        out: a folder without a search, or with this one.
        changes: values of the resume, this machine's dataset among them; they may name the tracking server.

    Raises:
        UsageError: no server is named, or the folder holds another search.
        InputMissing: the server has no such search, or the dataset is not here.
        CheckpointError: what the server has is not what was sent.
        ServiceUnavailable: the server does not answer.
    """
    uri = next(
        (str(change.value) for change in changes if change.key == "tracking.uri"),
        os.environ.get("MLFLOW_TRACKING_URI"),
    )
    if not uri:
        raise UsageError("no MLflow: set MLFLOW_TRACKING_URI, or give --set tracking.uri=URI")
    out = writable(out)
    with durable.own(out), tempfile.TemporaryDirectory() as folder:
        head = Path(folder)
        tracking.fetch_head(run_id, uri, head)
        _refuse_another(out, head)
        settings = of_folder(head, changes)  # before hours of fetching, for the dataset may not be here
        if not is_search(out):
            durable.clean_leftovers(out)
            with showing_progress():
                count = tracking.rebuild(Run(settings, out), run_id, uri, head)
            say(f"fetched {count} pairs of search {settings.name} from MLflow into {out}")
    return settings


def _refuse_another(out: Path, head: Path) -> None:
    """Raises UsageError where the folder holds another search; this one, or its beginning, is let through."""
    if is_search(out):
        there = search_id(head)
        here = search_id(out)
        if here != there:
            raise UsageError(f"{out} holds another search ({here}), not that of the run ({there})")
