"""`jdn publish` and `jdn rollback`: detectors in MLflow's Model Registry, there and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.console import Answer, answering

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("publish", epilog="Example: jdn publish runs/first --alias champion")(answering(publish))
    app.command("rollback", epilog="Example: jdn rollback first")(answering(rollback))


def publish(
    folder: options.Search,
    pair: Annotated[
        int | None, typer.Option("--pair", min=0, metavar="I", help="Index of the pair. [default: the best]")
    ] = None,
    alias: Annotated[
        str, typer.Option("--alias", metavar="NAME", help="Alias that will point to the version.")
    ] = "champion",
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Registered model. [default: the search's name]"),
    ] = None,
    json: options.Json = False,
) -> Answer:
    """Register a detector in MLflow's Model Registry. A second time only the alias moves."""
    from flows.launch.register import register

    published = register(folder, pair=pair, alias=alias, model=model)

    def show(screen: Console) -> None:
        what = "the search's result" if published.pair is None else f"pair {published.pair}"
        screen.print(
            f"{what} is {published.model} version {published.version}, "
            f"alias {published.alias}: {published.uri}",
            markup=False,
            soft_wrap=True,
        )
        screen.print(published.page, markup=False, soft_wrap=True)

    return Answer(published._asdict(), show)


def rollback(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model.")],
    alias: Annotated[
        str, typer.Option("--alias", metavar="NAME", help="Alias that goes back to the version before.")
    ] = "champion",
    json: options.Json = False,
) -> Answer:
    """Give a registered model's alias back to the version that had it before.

    The server is that of MLFLOW_TRACKING_URI.
    """
    from flows.inputs.models import registry_address
    from tasks.tracking.registry import roll_back

    found = roll_back(model, registry_address(model), alias=alias)

    def show(screen: Console) -> None:
        screen.print(
            f"{found.uri} is version {found.version} again; it leaves version {found.left}", markup=False
        )

    return Answer(found._asdict(), show)
