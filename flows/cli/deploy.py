"""`jdn deploy`: what the dashboard can start, registered with the configured Prefect server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, table

Settings = Annotated[
    str | None,
    typer.Option("--settings", metavar="SETTINGS", help="File or preset that fills in the forms."),
]
Stage = Annotated[
    str | None,
    typer.Option(metavar="PLACE", help="Fills in the form of search: a folder, a flow run or an MLflow run."),
]
Notify = Annotated[
    list[str] | None,
    typer.Option(
        "--notify",
        metavar="TYPE/NAME",
        help="A notification block that reports how runs end; may be repeated.",
    ),
]

Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="POOL", help="Work pool of a machine that times students; may be repeated."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("deploy", epilog="Example: jdn deploy --settings bccd_cpu --data /data/photos")(
        answering(deploy)
    )


def deploy(
    settings: Settings = None,
    data: options.Data = None,
    sets: options.Set = None,
    base: Stage = None,
    pool: Stage = None,
    notify: Notify = None,
    target: Target = None,
    json: options.Json = False,
) -> Answer:
    """Register work pools, deployments and automations with Prefect's server; twice changes nothing."""
    from flows.servers.deploying import deploy as register

    parameters = _parameters(settings, data, sets, {"base": base, "pool": pool})
    found = register(parameters, notify=notify or (), targets=target or ())
    rows = [(each.kind, each.name, each.outcome) for each in found]
    return Answer(
        {"registered": [each._asdict() for each in found]},
        lambda screen: screen.print(table(["what", "name", "outcome"], rows, left=3)),
    )


def _parameters(
    source: str | None, data: Path | None, sets: list[str] | None, stages: dict[str, str | None]
) -> dict[str, Any] | None:
    """Returns default values of the forms; None leaves those that are registered.

    The dataset need not be on this machine.
    """
    from flows.inputs.settings_file import load
    from flows.launch.requests import overrides
    from jdn_core.errors import UsageError

    given = {name: named for name, named in stages.items() if named is not None}
    if source is None:
        if data or sets or given:
            raise UsageError("--data, --set, --base and --pool fill in the forms of --settings SETTINGS")
        return None
    changes = overrides(sets=sets, data=data.absolute() if data else None)
    return {"settings": load(source, changes).model_dump(mode="json"), **given}
