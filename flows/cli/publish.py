"""`jdn publish`: a pair's detector into MLflow's Model Registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.console import Answer, answering

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("publish", epilog="Example: jdn publish runs/first --alias champion")(answering(publish))


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
