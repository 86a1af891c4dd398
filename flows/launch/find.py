"""From the id of a flow run, or a folder's name, back to the search: how Prefect's dashboard names it."""

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
class FoundSearch:
    """A search as its flow runs name it.

    Attributes:
        folder: of the search; it need not be on this machine.
        name: of the search and of its experiment; none where only the folder is known.
        flow_runs: ids of the flow runs that it went through, newest first.
        begun_by: the flow run that a form started; none where only the folder is known.
    """

    folder: Path
    name: str | None = None
    flow_runs: tuple[str, ...] = ()
    begun_by: FlowRun | None = None


@dataclass(frozen=True)
class Form:
    """What somebody filled in: the flow, its settings, and the trained stages that it takes, by name."""

    flow: str
    settings: Settings
    stages: Mapping[str, str]


def find(search: str) -> FoundSearch:
    """Finds a search by its folder or by a flow run that began, resumed or published it.

    Raises:
        InputMissing: Prefect's server knows no such run.
        UsageError: it is not a run of a search.
        ServiceUnavailable: the server does not answer.
    """
    runs: list[str] = []
    while is_flow_run(search):
        runs.append(search)
        flow_run = _read(search)
        parameters = flow_run.parameters
        if "settings" in parameters:
            name = parameters["settings"].get("name") or Settings.model_fields["name"].default
            return FoundSearch(begun_in(parameters.get("out"), name, search), name, tuple(runs), flow_run)
        if not isinstance(parameters.get("search"), str) or parameters["search"] in runs:
            raise UsageError(f"flow run {search} is not one of a search; give a search's folder or flow run")
        search = parameters["search"]
    return FoundSearch(at_home(search), flow_runs=tuple(runs))


def mlflow_run_of(search: FoundSearch) -> str | None:
    """Finds the search's run on the server of ``MLFLOW_TRACKING_URI``, if that knows one of its flow runs.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    uri, name = os.environ.get("MLFLOW_TRACKING_URI"), search.name
    if name is None or not uri:
        return None
    from tasks.tracking import run_of_flow

    return next(filter(None, (run_of_flow(uri, name=name, flow_run=run) for run in search.flow_runs)), None)


def form_of(search: FoundSearch) -> Form | None:
    """Returns what a search was to be, if all its flow runs ended before their first task; else None."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    if search.begun_by is None:
        return None
    with get_client(sync_client=True) as client:
        runs = FlowRunFilter.model_validate({"id": {"any_": list(search.flow_runs)}})
        if client.read_task_runs(flow_run_filter=runs, limit=1):
            return None
        flow = client.read_flow(search.begun_by.flow_id).name.replace("-", "_")
    given = search.begun_by.parameters
    stages = {name: str(value) for name, value in given.items() if name in ("base", "pool")}
    return Form(flow, Settings.model_validate(given["settings"]), stages)


def begun_in(out: str | None, name: str, flow_run: str) -> Path:
    """Returns the folder of a search that a form started, whether it named one or not."""
    return at_home(out) if out else home() / f"{name}-{flow_run[:8]}"


def is_flow_run(search: str) -> bool:
    """Checks whether a text is a flow run's id and no folder."""
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
