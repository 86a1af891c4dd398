"""Where a search is that was started from Prefect's dashboard: from a flow run back to the folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from jdn_core.errors import InputMissing, ServiceUnavailable, UsageError
from jdn_core.settings import Settings

HOME = "JDN_HOME"
_UUID_LENGTH = 36  # with dashes; MLflow's ids have none


@dataclass(frozen=True)
class Whereabouts:
    """A search as a flow run tells of it.

    Attributes:
        folder: of the search; it need not be on this machine.
        name: of the search and of its experiment; none where only the folder is known.
        runs: ids of the flow runs that it went through, newest first.
    """

    folder: Path
    name: str | None = None
    runs: tuple[str, ...] = ()


def home() -> Path:
    """Where searches lie that were started without a folder: ``JDN_HOME``, else ``~/jdn``."""
    return Path(os.path.realpath(os.path.expanduser(os.environ.get(HOME) or "~/jdn")))


def folder_of(search: str) -> Path:
    """The folder of a search that is named by it or by a flow run that began, resumed or published it.

    A folder's relative name is looked for here first, then in ``home()``: a worker's own directory is one
    that lasts no longer than a run.

    Raises:
        InputMissing: Prefect's server knows no such run.
        UsageError: it is not a run of a search.
        ServiceUnavailable: the server does not answer.
    """
    return find(search).folder


def find(search: str) -> Whereabouts:
    """``folder_of`` with all that is known on the way."""
    runs: list[str] = []
    while is_flow_run(search):
        runs.append(search)
        parameters = _parameters(search)
        if "settings" in parameters:
            name = parameters["settings"].get("name") or Settings.model_fields["name"].default
            return Whereabouts(begun_in(parameters.get("out"), name, search), name, tuple(runs))
        if not isinstance(parameters.get("search"), str) or parameters["search"] in runs:
            raise UsageError(f"flow run {search} is not one of a search; give a search's folder or flow run")
        search = parameters["search"]
    return Whereabouts(folder=placed(search), runs=tuple(runs))


def run_in_mlflow(place: Whereabouts) -> str | None:
    """Id of the search's run on the server of ``MLFLOW_TRACKING_URI``, if that knows one of its flow runs.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    uri, name = os.environ.get("MLFLOW_TRACKING_URI"), place.name
    if name is None or not uri:
        return None
    from tasks.tracking import run_of_flow

    return next(filter(None, (run_of_flow(uri, name=name, flow_run=run) for run in place.runs)), None)


def begun_in(out: str | None, name: str, flow_run: str) -> Path:
    """The folder of a search that a form started, with or without a wish for one."""
    return placed(out) if out else home() / f"{name}-{flow_run[:8]}"


def placed(folder: str) -> Path:
    """A folder as a form names it; a relative one that is not here lies in ``home()``."""
    path = Path(os.path.expanduser(folder))
    return Path(os.path.realpath(path if path.exists() else home() / path))


def is_flow_run(search: str) -> bool:
    """Whether a text is a flow run's id and no folder."""
    try:
        UUID(search)
    except ValueError:
        return False
    return len(search) == _UUID_LENGTH and not Path(search).exists()


def _parameters(flow_run: str) -> Mapping[str, Any]:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise InputMissing(f"{flow_run}: no such folder; set PREFECT_API_URL if it is a flow run")
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(flow_run)).parameters
    except ObjectNotFound:
        raise InputMissing(f"{flow_run}: Prefect's server knows no such flow run") from None
    except httpx.TransportError as error:
        raise ServiceUnavailable(f"Prefect's server does not answer: {error}") from error
