"""What is in ``deployments``, registered with the configured Prefect server; what is there stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from jdn_core.errors import InputMissing, ServiceUnavailable, UsageError


class Registered(NamedTuple):
    """One thing that the server has now.

    Attributes:
        kind: ``work pool``, ``deployment`` or ``automation``.
        name: of it.
        id: that the server gave it.
        outcome: ``new``, ``changed`` or ``unchanged``.
    """

    kind: str
    name: str
    id: str
    outcome: str


def deploy(
    parameters: Mapping[str, Any] | None = None, *, notify: Sequence[str] = ()
) -> tuple[Registered, ...]:
    """Makes the server have our work pools, deployments and automations, each once.

    Args:
        parameters: default values of the forms, by name; those that a flow does not know are left out. None
            leaves the values that are there.
        notify: blocks that are told how runs end, each ``TYPE/NAME``.

    Raises:
        UsageError: no server is configured, or a block is not named so.
        InputMissing: the server has no such block.
        ServiceUnavailable: the server does not answer, or refuses.
    """
    declared = _read("prefect.yaml")["deployments"]
    with _server() as client:
        pools = sorted({each["work_pool"]["name"] for each in declared})
        found = [_pool(client, name) for name in pools]
        found += [_deployment(client, each, parameters) for each in declared]
        ids = {each.name: each.id for each in found if each.kind == "deployment"}
        found += _automations(client, ids, notify)
    return tuple(found)


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


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((resources.files("deployments") / name).read_text())
    return found


def _pool(client: SyncPrefectClient, name: str) -> Registered:
    """A pool of processes, unless there is one of this name, of whatever type."""
    try:
        return Registered("work pool", name, str(client.read_work_pool(name).id), "unchanged")
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        wanted = WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
        return Registered("work pool", name, str(client.create_work_pool(wanted).id), "new")


def _deployment(
    client: SyncPrefectClient, declared: Mapping[str, Any], parameters: Mapping[str, Any] | None
) -> Registered:
    """A deployment as Prefect's own command would make it, but written only where it differs.

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


def _automations(
    client: SyncPrefectClient, ids: Mapping[str, str], notify: Sequence[str]
) -> Iterator[Registered]:
    """Ours, each once; those of notifications that are not asked for now stay."""
    declared = _read("automations.yaml")
    specs = [_with_ids(each, ids) for each in declared["automations"]]
    specs += [_notification(client, _with_ids(declared["notification"], ids), block) for block in notify]
    for spec in specs:
        wanted = AutomationCore.model_validate(spec)
        there = client.read_automations_by_name(wanted.name)
        for more in there[1:]:
            client.delete_automation(more.id)
        yield _automation(client, wanted, there[0] if there else None)


def _automation(client: SyncPrefectClient, wanted: AutomationCore, there: Automation | None) -> Registered:
    """Written where it differs only: a new text forgets the runs that the old one was watching."""
    if there is None:
        return Registered("automation", wanted.name, str(client.create_automation(wanted)), "new")
    wanted = wanted.model_copy(update={"enabled": there.enabled})  # the dashboard's switch
    if _told(wanted) == _told(there):
        return Registered("automation", wanted.name, str(there.id), "unchanged")
    client.update_automation(there.id, wanted)
    return Registered("automation", wanted.name, str(there.id), "changed")


def _told(automation: AutomationCore) -> dict[str, Any]:
    """All that we say of an automation, in one form."""
    fields = {"name", "description", "trigger", "actions", "enabled"}
    return AutomationCore.model_validate(automation.model_dump(include=fields)).model_dump(include=fields)


def _with_ids(value: Any, ids: Mapping[str, str]) -> Any:
    """The declaration with ids of deployments in place of their names."""
    if isinstance(value, list):
        return [_with_ids(each, ids) for each in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if name == "deployments":
            found["prefect.resource.role"] = "deployment"
            found["prefect.resource.id"] = [f"prefect.deployment.{ids[each]}" for each in inner]
        elif name == "deployment":
            found["deployment_id"] = ids[inner]
        else:
            found[name] = _with_ids(inner, ids)
    return found


def _notification(client: SyncPrefectClient, spec: dict[str, Any], block: str) -> dict[str, Any]:
    kind, slash, name = block.partition("/")
    if not (kind and slash and name):
        raise UsageError(f"--notify takes TYPE/NAME, such as slack-webhook/team, got {block!r}")
    try:
        found: UUID = client.read_block_document_by_name(name, kind).id
    except ObjectNotFound:
        raise InputMissing(
            f"Prefect's server has no block {block}; make one in the dashboard under Blocks, or with "
            f"`prefect block create {kind}`"
        ) from None
    actions = [{**action, "block_document_id": str(found)} for action in spec["actions"]]
    return {**spec, "name": spec["name"].format(block=block), "actions": actions}
