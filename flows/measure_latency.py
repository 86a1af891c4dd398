"""One exported student timed on the machine of a target: fetched from MLflow, the number sent back."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from jdn_core.errors import InputMissing
from jdn_core.run.latency import time_file
from jdn_core.settings.search import TargetSettings
from tasks.tracking.exports import fetch_export


@flow(name="measure-latency")
def measure_latency(
    search_run: str, file: str, sha256: str, target: TargetSettings, tracking_uri: str | None = None
) -> State[Any]:
    """Times an exported student of a search; the numbers are the message of the state that the run ends in.

    Args:
        search_run: Id of the search's run in MLflow.
        file: Its artifact.
        sha256: Of the file.
        target: Runtime and threads.
        tracking_uri: Where MLflow listens; the worker's MLFLOW_TRACKING_URI wins.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri
    if not uri:
        raise InputMissing("no MLflow: set MLFLOW_TRACKING_URI for this worker")
    with tempfile.TemporaryDirectory() as folder:
        found = time_file(fetch_export(search_run, uri, file, sha256, Path(folder)), target)
    return Completed(message=json.dumps(found.to_json()))
