"""Where a search is that was started from Prefect's dashboard: from a flow run back to the folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flows.inputs.folders import at_home, home
from jdn_core.errors import InputMissing, ServiceUnavailable, UsageError
from jdn_core.settings.whole import Settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_UUID_LENGTH = 36  # with dashes; MLflow's ids have none


@dataclass(frozen=True)
class Whereabouts:
    """A search as a flow run tells of it.

    Attributes:
        folder: of the search; it need not be on this machine.
        name: of the search and of its experiment; none where only the folder is known.
        runs: ids of the flow runs that it went through, newest first.
        begun_by: the flow run that a form started; none where only the folder is known.
    """

    folder: Path
    name: str | None = None
    runs: tuple[str, ...] = ()
    begun_by: FlowRun | None = None


@dataclass(frozen=True)
class Form:
    """What somebody filled in: the flow, its settings, and the trained stages that it takes, by name."""

    flow: str
    settings: Settings
    stages: Mapping[str, str]


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
        flow_run = _read(search)
        parameters = flow_run.parameters
        if "settings" in parameters:
            name = parameters["settings"].get("name") or Settings.model_fields["name"].default
            return Whereabouts(begun_in(parameters.get("out"), name, search), name, tuple(runs), flow_run)
        if not isinstance(parameters.get("search"), str) or parameters["search"] in runs:
            raise UsageError(f"flow run {search} is not one of a search; give a search's folder or flow run")
        search = parameters["search"]
    return Whereabouts(folder=at_home(search), runs=tuple(runs))


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


def form_of(place: Whereabouts) -> Form | None:
    """What a search was to be, if all its flow runs ended before their first task; none if one began."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    if place.begun_by is None:
        return None
    with get_client(sync_client=True) as client:
        runs = FlowRunFilter.model_validate({"id": {"any_": list(place.runs)}})
        if client.read_task_runs(flow_run_filter=runs, limit=1):
            return None
        flow = client.read_flow(place.begun_by.flow_id).name.replace("-", "_")
    given = place.begun_by.parameters
    stages = {name: str(value) for name, value in given.items() if name in ("base", "pool")}
    return Form(flow, Settings.model_validate(given["settings"]), stages)


def begun_in(out: str | None, name: str, flow_run: str) -> Path:
    """The folder of a search that a form started, with or without a wish for one."""
    return at_home(out) if out else home() / f"{name}-{flow_run[:8]}"


def is_flow_run(search: str) -> bool:
    """Whether a text is a flow run's id and no folder."""
    try:
        UUID(search)
    except ValueError:
        return False
    return len(search) == _UUID_LENGTH and not Path(search).exists()


def _read(flow_run: str) -> FlowRun:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise InputMissing(f"{flow_run}: no such folder; set PREFECT_API_URL if it is a flow run")
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(flow_run))
    except ObjectNotFound:
        raise InputMissing(f"{flow_run}: Prefect's server knows no such flow run") from None
    except httpx.TransportError as error:
        raise ServiceUnavailable(f"Prefect's server does not answer: {error}") from error
