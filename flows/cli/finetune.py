"""`jdn finetune`: a detector of a search trained on, with its AP before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, count, duration, table
from flows.servers.embedded import before_prefect, require_home

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("finetune", epilog="Example: jdn finetune runs/first --epochs 12")(answering(finetune))


def finetune(
    folder: options.Search,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the training images.")
    ],
    pair: Annotated[
        int | None,
        typer.Option("--pair", min=0, metavar="I", help="Index of the pair. [default: the search's result]"),
    ] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Learn from the photos alone, without the teacher.")
    ] = False,
    json: options.Json = False,
) -> Answer:
    """Train a search's result on, under its teacher. The same command again goes on where it stopped.

    The new detector stands beside the search, whose pairs stay as they are. AP is that before and after, on
    val and on held-out photos if there are any.
    """
    from flows.inputs.settings_file import read_back

    require_home()
    read_back(folder)  # what is no search is refused before Prefect starts, which takes seconds
    before_prefect()
    from flows.finetune import finetune as flow

    data = flow(str(folder.resolve()), epochs, pair, alone)
    return Answer(data, lambda screen: _show(screen, data))


def _show(screen: Console, data: dict[str, Any]) -> None:
    taught = f"under {data['teacher']}" if data["teacher"] else "without a teacher"
    epochs = f"{data['epochs']} epochs {taught}, {duration(data['train_seconds'])}"
    screen.print(f"{data['search']}: {data['start']} trained on for {epochs}", markup=False, soft_wrap=True)
    rows = []
    if held_out := data["holdout"]:
        photos = f"{held_out['images']} photos, {held_out['boxes']} boxes"
        change = _points(held_out["difference"]["value"], held_out["difference"]["interval"])
        rows.append((f"AP, held out ({photos})", _ap(held_out["before"]), _ap(held_out["after"]), change))
    val = data["val"]
    change = _points(val["after"] - val["before"], None)
    rows.append(("AP on val, that the search optimised", _ap(val["before"]), _ap(val["after"]), change))
    screen.print(table((f"at {data['resolution']}", "before", "after", "change in points"), rows))
    screen.print(f"{count(data['macs'])} MACs and {count(data['params'])} parameters, as before")
    lines = {
        "detector": data["detector"],
        "ship it": f"jdn export {data['detector']} --format onnx",
        "MLflow": _tracked(data),
    }
    for name, line in lines.items():
        screen.print(f"{name:10} {line}", markup=False, soft_wrap=True)


def _tracked(data: dict[str, Any]) -> str:
    mlflow = data["mlflow"]
    if mlflow["error"]:
        return f"was not told: {mlflow['error']}; `jdn sync` sends it later"
    return mlflow.get("command") or mlflow.get("uri") or "-"


def _ap(value: float) -> str:
    return f"{value:.4f}"


def _points(change: float, interval: list[float] | None) -> str:
    """Says a change of AP in points, with the ends of its 95 % interval if it has any."""
    ends = "" if interval is None else f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    return f"{100 * change:+.1f}{ends}"
