"""`jdn sync` and `jdn verify`: the two copies of a search, its folder and MLflow, made and compared."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, showing_progress, table

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("sync", epilog="Example: jdn sync runs/first")(answering(sync))
    app.command("verify", epilog="Example: jdn verify runs/first --json")(answering(verify))


def sync(folder: options.Search, json: options.Json = False) -> Answer:
    """Send MLflow what it does not have yet. A search that runs does so by itself."""
    from flows.inputs.searches import held, status
    from jdn_core.errors import ServiceUnavailable
    from tasks import tracking
    from tasks.tracking import pages

    state = "finished" if status(folder)["state"] == "finished" else "interrupted"
    with held(folder, advice="a search that runs tells MLflow by itself") as run:
        done = tracking.sync(run, state=state)
        data = {
            "search": run.settings.name,
            "sent": done.fresh,
            "known": done.sent,
            "missing": done.missing,
            "error": done.error or None,
            "mlflow": pages.where(run),
        }

    def show(screen: Console) -> None:
        screen.print(f"{done.fresh} runs sent, MLflow has {done.sent}, {done.missing} are missing")
        if done.error:
            screen.print(f"refused: {done.error}", markup=False, soft_wrap=True)

    return Answer(data, show, ServiceUnavailable.exit_code if done.missing else 0)


def verify(folder: options.Search, json: options.Json = False) -> Answer:
    """Compare records, weights and MLflow with each other, hash by hash. Nothing is changed."""
    from flows.inputs.searches import held
    from jdn_core.errors import DataError, ServiceUnavailable
    from jdn_core.run.inspection import inspect
    from tasks import tracking

    with held(folder, advice="wait for its end, or stop it") as run, showing_progress():
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
    code = DataError.exit_code if problems else ServiceUnavailable.exit_code if unavailable else 0
    return Answer(data, lambda screen: _show(screen, data), code)


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
