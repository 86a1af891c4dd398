"""Registers what ``deployments`` declares with the configured Prefect server; twice changes nothing.

Prefect has two ways of its own, and both undo what people did in the dashboard. ``prefect deploy --all``
switches schedules back to what the file says; it stays possible beside ours, with the same result on an
empty server. ``RunnerDeployment.from_entrypoint(...).apply()`` always sends parameters, which would empty
forms that were filled in (Prefect 3.8, deployments/runner.py). Neither says whether anything changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from flows.servers.automations import Registered, read_declared, register_automations
from jdn_core.errors import ServiceUnavailable, UsageError
from tasks.orchestration.work_pool import TIMING


def deploy(
    parameters: Mapping[str, Any] | None = None, *, notify: Sequence[str] = (), targets: Sequence[str] = ()
) -> tuple[Registered, ...]:
    """Makes the server have our work pools, deployments and automations, each once.

    Args:
        parameters: default values of the forms, by name; those that a flow does not know are left out. None
            leaves the values that are there.
        notify: notification blocks that report how runs end, each ``TYPE/NAME``.
        targets: work pools of machines on which exported students are timed, beside the declared ones.

    Raises:
        UsageError: no server is configured, or a block is not named so.
        InputMissing: the server has no such block.
        ServiceUnavailable: the server does not answer, or refuses.
    """
    declared = read_declared("prefect.yaml")["deployments"]
    declared += [_for_target(each, pool) for each in declared if each["name"] == TIMING for pool in targets]
    with _server() as client:
        pools = sorted({each["work_pool"]["name"] for each in declared})
        found = [_pool(client, name) for name in pools]
        found += [_deployment(client, each, parameters) for each in declared]
        ids = {each.name: each.id for each in found if each.kind == "deployment"}
        found += register_automations(client, ids, notify)
    return tuple(found)


def _for_target(declared: Mapping[str, Any], pool: str) -> dict[str, Any]:
    """Returns the deployment that times students, on another pool under a name of its own."""
    return {**declared, "name": f"{TIMING}-{pool}", "work_pool": {**declared["work_pool"], "name": pool}}


@contextmanager
def _server() -> Iterator[SyncPrefectClient]:
    if not PREFECT_API_URL.value():
        raise UsageError(
            "no Prefect server: start one with `prefect server start`, or all at once with `jdn ui`, and "
            "set PREFECT_API_URL, such as http://127.0.0.1:4200/api"
        )
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPStatusError as error:
        raise ServiceUnavailable(
            f"Prefect's server at {PREFECT_API_URL.value()} refuses: {error.response.status_code} "
            f"{error.response.reason_phrase}; where it asks for a password, PREFECT_API_AUTH_STRING has it"
        ) from error
    except httpx.TransportError as error:
        raise ServiceUnavailable(
            f"Prefect's server does not answer at {PREFECT_API_URL.value()}: {error}; "
            "start it with `prefect server start`"
        ) from error


def _pool(client: SyncPrefectClient, name: str) -> Registered:
    """Makes a pool of processes, unless there is one of this name, of whatever type."""
    try:
        return Registered("work pool", name, str(client.read_work_pool(name).id), "unchanged")
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        wanted = WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
        return Registered("work pool", name, str(client.create_work_pool(wanted).id), "new")


def _deployment(
    client: SyncPrefectClient, declared: Mapping[str, Any], parameters: Mapping[str, Any] | None
) -> Registered:
    """Makes a deployment as Prefect's own command would, or updates it where it differs.

    Switches that people set in the dashboard stay: whether it is paused, and its schedules.
    """
    flow: Flow[..., Any] = load_flow_from_entrypoint(declared["entrypoint"])
    limit = declared.get("concurrency_limit")
    wanted: dict[str, Any] = {
        "version": declared["version"],
        "description": declared["description"],
        "tags": declared["tags"],
        "entrypoint": declared["entrypoint"],
        "work_pool_name": declared["work_pool"]["name"],
        "job_variables": declared["work_pool"]["job_variables"],
        "enforce_parameter_schema": declared["enforce_parameter_schema"],
        "parameter_openapi_schema": parameter_schema(flow).model_dump(exclude_unset=True),
    }
    known = set(wanted["parameter_openapi_schema"]["properties"])
    if parameters is not None:
        wanted["parameters"] = {name: value for name, value in parameters.items() if name in known}
    strategy = limit and ConcurrencyOptions(collision_strategy=limit["collision_strategy"])
    try:
        there = client.read_deployment_by_name(f"{flow.name}/{declared['name']}")
    except ObjectNotFound:
        made = client.create_deployment(
            client.create_flow_from_name(flow.name),
            declared["name"],
            schedules=_schedules(declared),
            concurrency_limit=limit and limit["limit"],
            concurrency_options=strategy,
            pull_steps=[],
            **wanted,
        )
        return Registered("deployment", declared["name"], str(made), "new")
    limited = {"concurrency_limit": limit["limit"], "concurrency_options": strategy} if limit else {}
    changed = _differs(there, wanted) or (limit and _limit(there) != limit)
    if changed:
        client.update_deployment(there.id, DeploymentUpdate(**wanted, **limited))
    return Registered("deployment", declared["name"], str(there.id), "changed" if changed else "unchanged")


def _differs(there: DeploymentResponse, wanted: Mapping[str, Any]) -> bool:
    have = there.model_dump(mode="json")
    return any(have[name] != value for name, value in wanted.items())


def _limit(there: DeploymentResponse) -> dict[str, Any] | None:
    options, limit = there.concurrency_options, there.global_concurrency_limit
    if options is None or limit is None:
        return None
    return {"limit": limit.limit, "collision_strategy": options.collision_strategy.value}


def _schedules(declared: Mapping[str, Any]) -> list[DeploymentScheduleCreate]:
    return [
        DeploymentScheduleCreate(
            slug=each["slug"],
            active=each["active"],
            schedule=CronSchedule(cron=each["cron"], timezone=each["timezone"]),
        )
        for each in declared.get("schedules", ())
    ]
