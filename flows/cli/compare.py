"""`jdn compare`: searches side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.console import Answer, answering, table

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("compare", epilog="Example: jdn compare runs/first runs/second --out comparison.html")(
        answering(compare)
    )


def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="SEARCH...", help="Folders of searches.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write a page with figures, one HTML file. [default: none]"
        ),
    ] = None,
    json: options.Json = False,
) -> Answer:
    """Searches side by side. Settings that differ, winners, AP at equal cost, what not to compare."""
    from flows.inputs.comparisons import side_by_side

    found, data = side_by_side(folders, out)

    def show(screen: Console) -> None:
        for title, rows in (
            ("settings that differ", found.differences),
            ("results", found.results),
            ("AP (%) at no more computation than", found.at_cost),
        ):
            if rows:
                screen.print(table(("", *found.names), rows, title=title))
        for caution in found.cautions:
            screen.print(f"caution: {caution}", markup=False, soft_wrap=True)
        if out is not None:
            screen.print(f"page: {out}", markup=False, soft_wrap=True)

    return Answer(data, show)
