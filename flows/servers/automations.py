"""The automations of ``deployments/automations.yaml``: what Prefect's server does when runs change state.

``prefect.yaml`` has no place for them: its triggers belong to one deployment each, and Prefect's command
makes them anew every time, which forgets the runs that they are watching.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound

from jdn_core.errors import InputMissing, UsageError


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


def read_declared(name: str) -> dict[str, Any]:
    """Reads a file of ``deployments``."""
    found: dict[str, Any] = yaml.safe_load((resources.files("deployments") / name).read_text())
    return found


def register_automations(
    client: SyncPrefectClient, ids: Mapping[str, str], notify: Sequence[str]
) -> Iterator[Registered]:
    """Makes the server have ours, each once; notifications of earlier calls stay.

    Args:
        client: of the server.
        ids: deployment's name -> its id there.
        notify: notification blocks, each ``TYPE/NAME``.

    Raises:
        UsageError: a block is not named so.
        InputMissing: the server has no such block.
    """
    declared = read_declared("automations.yaml")
    specs = [_with_ids(each, ids) for each in declared["automations"]]
    specs += [_notification(client, _with_ids(declared["notification"], ids), block) for block in notify]
    for spec in specs:
        wanted = AutomationCore.model_validate(spec)
        there = client.read_automations_by_name(wanted.name)
        for more in there[1:]:
            client.delete_automation(more.id)
        yield _automation(client, wanted, there[0] if there else None)


def _automation(client: SyncPrefectClient, wanted: AutomationCore, there: Automation | None) -> Registered:
    """Writes it only where it differs: an update forgets the runs that the automation was watching."""
    if there is None:
        return Registered("automation", wanted.name, str(client.create_automation(wanted)), "new")
    wanted = wanted.model_copy(update={"enabled": there.enabled})  # the dashboard's switch
    if _comparable(wanted) == _comparable(there):
        return Registered("automation", wanted.name, str(there.id), "unchanged")
    client.update_automation(there.id, wanted)
    return Registered("automation", wanted.name, str(there.id), "changed")


def _comparable(automation: AutomationCore) -> dict[str, Any]:
    """Returns all that we declare of an automation, in one form."""
    fields = {"name", "description", "trigger", "actions", "enabled"}
    return AutomationCore.model_validate(automation.model_dump(include=fields)).model_dump(include=fields)


def _with_ids(value: Any, ids: Mapping[str, str]) -> Any:
    """Returns the declaration with ids of deployments in place of their names."""
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
