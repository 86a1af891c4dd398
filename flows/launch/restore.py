"""A search on a machine that has nothing of it: fetched from its run in MLflow, whole, to go on there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.console import progress_printer, say
from flows.inputs.folders import writable
from flows.inputs.settings_file import read_set
from jdn_core.errors import UsageError
from jdn_core.processes.progress import listening
from jdn_core.run.file_names import SEARCH_FILE, SETTINGS_FILE
from jdn_core.run.folder import Run
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tasks.tracking import fetch_head, rebuild


def rebuilt(
    run_id: str, out: Path, *, choose: Callable[[str], Settings], sets: Sequence[str] | None = None
) -> Settings:
    """Makes ``out`` the folder of the search whose run has this id, and gives the settings to go on with.

    Cut off, the same command goes on fetching.

    Args:
        run_id: of the search's run in MLflow.
        out: a folder without a search, or with this one.
        choose: gives the settings of the resume, this machine's dataset among them, for a settings file.
        sets: texts of ``--set``, which may name the tracking server.

    Raises:
        UsageError: no server is named, or the folder holds another search.
        InputMissing: the server has no such search, or the dataset is not here.
        CheckpointError: what the server has is not what was sent.
        ServiceUnavailable: the server does not answer.
    """
    uri = next(
        (str(override.value) for override in read_set(sets or ()) if override.key == "tracking.uri"),
        os.environ.get("MLFLOW_TRACKING_URI"),
    )
    if not uri:
        raise UsageError("no MLflow: set MLFLOW_TRACKING_URI, or give --set tracking.uri=URI")
    out = writable(out)
    with durable.own(out), tempfile.TemporaryDirectory() as folder:
        head = Path(folder)
        fetch_head(run_id, uri, head)
        _refuse_another(out, head)
        settings = choose(str(head / SETTINGS_FILE))
        if not (out / SETTINGS_FILE).exists():
            durable.clean_leftovers(out)
            with progress_printer() as listener, listening(listener):
                count = rebuild(Run(settings, out), run_id, uri, head)
            say(f"fetched {count} pairs of search {settings.name} from MLflow into {out}")
    return settings


def _refuse_another(out: Path, head: Path) -> None:
    """A folder may hold this search already, or the beginning of it; but no other."""
    if (out / SETTINGS_FILE).exists():
        there = durable.read_json(head / SEARCH_FILE)["id"]
        here = durable.read_json(out / SEARCH_FILE)["id"] if (out / SEARCH_FILE).is_file() else None
        if here != there:
            raise UsageError(f"{out} holds another search ({here}), not that of the run ({there})")
