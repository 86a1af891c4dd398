"""`jdn sync` and `jdn verify`: the two copies of a search, its folder and MLflow, made and compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, table

if TYPE_CHECKING:
    from rich.console import Console

    from jdn_core.run.folder import Run

BAD_DATA, UNAVAILABLE = 65, 69


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("sync", epilog="Example: jdn sync runs/first")(answering(sync))
    app.command("verify", epilog="Example: jdn verify runs/first --json")(answering(verify))


def sync(folder: options.Search, json: options.Json = False) -> Answer:
    """Tell MLflow what it has not heard yet. A search that runs does so by itself."""
    from flows.inputs.searches import status
    from tasks import tracking
    from tasks.tracking import pages

    state = "finished" if status(folder)["state"] == "finished" else "interrupted"
    with _owned(folder, "a search that runs tells MLflow by itself") as run:
        heard = tracking.sync(run, state=state)
        data = {
            "search": run.settings.name,
            "sent": heard.fresh,
            "known": heard.sent,
            "missing": heard.missing,
            "error": heard.error or None,
            "mlflow": pages.where(run),
        }

    def show(screen: Console) -> None:
        screen.print(f"{heard.fresh} runs sent, MLflow has {heard.sent}, {heard.missing} are missing")
        if heard.error:
            screen.print(f"refused: {heard.error}", markup=False, soft_wrap=True)

    return Answer(data, show, UNAVAILABLE if heard.missing else 0)


def verify(folder: options.Search, json: options.Json = False) -> Answer:
    """Hold records, weights and MLflow against each other, hash by hash. Nothing is changed."""
    from flows.console import progress_printer
    from jdn_core.errors import ServiceUnavailable
    from jdn_core.processes.progress import listening
    from jdn_core.run.inspection import inspect
    from tasks import tracking

    waiting = "wait for its end, or stop it"
    with _owned(folder, waiting) as run, progress_printer() as listener, listening(listener):
        found = inspect(run)
        problems, unavailable = found.problems, ""
        try:
            problems = problems + tracking.mlflow_problems(run, dropped=found.dropped)
        except ServiceUnavailable as error:
            unavailable = str(error)
    data = {
        "ok": not problems and not unavailable,
        "problems": [asdict(problem) for problem in problems],
        "search": run.settings.name,
        "records": found.records,
        "dropped_weights": len(found.dropped),
        "mlflow": unavailable or "compared",
    }
    code = BAD_DATA if problems else UNAVAILABLE if unavailable else 0
    return Answer(data, lambda screen: _show(screen, data), code)


@contextlib.contextmanager
def _owned(folder: Path, advice: str) -> Iterator[Run]:
    """Gives the search in a folder, which no other process runs until the block ends."""
    from flows.inputs.settings_file import read_back
    from jdn_core.errors import OwnedByAnother
    from jdn_core.run.folder import Run
    from jdn_core.storage import durable

    settings = read_back(folder)
    try:
        with durable.own(folder):
            yield Run(settings, folder.resolve())
    except OwnedByAnother as error:
        raise OwnedByAnother(f"{error}; {advice}") from None


def _show(screen: Console, data: dict[str, Any]) -> None:
    dropped = f", {data['dropped_weights']} weights in MLflow alone" if data["dropped_weights"] else ""
    screen.print(f"{data['records']} records, {len(data['problems'])} problems{dropped}")
    if data["mlflow"] != "compared":
        screen.print(f"not compared: {data['mlflow']}", markup=False, soft_wrap=True)
    if data["problems"]:
        rows = [_cells(problem) for problem in data["problems"]]
        screen.print(table(["where", "problem", "remedy"], rows, left=3))


def _cells(problem: dict[str, str]) -> tuple[str, str, str]:
    got = f", got {problem['value']}" if problem["value"] else ""
    return f"{problem['file']} {problem['where']}".strip(), problem["what"] + got, problem["remedy"]
