"""Exported files on their way to a target: with the search's run in MLflow, and back out of it."""

from __future__ import annotations

from pathlib import Path

from jdn_core.errors import CheckpointError, InputMissing
from jdn_core.run.folder import Run
from jdn_core.storage import durable
from tasks.tracking.pages import tracking_uri
from tasks.tracking.search_run import SearchRun
from tasks.tracking.server import Experiment, asking


def send_export(run: Run, file: Path, *, place: str) -> str:
    """Sends a file to the search's run, into the folder ``place`` of its artifacts; the run's id.

    Raises:
        InputMissing: MLflow has no run of the search.
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(tracking_uri(run)):
        found = SearchRun.find(run)
        if found is None:
            raise InputMissing(f"MLflow has no run of search {run.settings.name}; `jdn sync` sends it")
        found.experiment.client.log_artifact(found.id, str(file), place)
        return found.id


def fetch_export(run_id: str, uri: str, name: str, sha256: str, folder: Path) -> Path:
    """Downloads an exported file of a search's run into a folder, if its hash holds.

    Raises:
        InputMissing: there is no such run or file.
        CheckpointError: it is not the file that was sent.
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(uri):
        experiment, found = Experiment.holding(run_id, uri)
        file = experiment.download(found, name, folder)
    if (got := durable.sha256_of(file)) != sha256:
        raise CheckpointError(f"{name}: SHA-256 must be {sha256}, got {got}")
    return file
