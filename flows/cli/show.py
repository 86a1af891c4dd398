"""`jdn status`, `jdn candidates`, `jdn rescore`: a search seen from its folder, while it runs and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, count, duration, table

if TYPE_CHECKING:
    from rich.console import Console

    from jdn_core.reports.tables import Candidate

COLUMNS = ("pair", "action", "state", "of", "frame", "AP", "teacher", "MACs", "params", "ms", "H")
Top = Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="Show only the first rows.")]
Sort = Annotated[
    str,
    typer.Option(
        "--sort", metavar="KEY", help="score, ap, macs, params, latency_ms, index, action, state ..."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("status", epilog="Example: jdn status runs/first")(answering(status))
    app.command("candidates", epilog="Example: jdn candidates runs/first --top 10 --sort ap")(
        answering(candidates)
    )
    app.command("rescore", epilog="Example: jdn rescore runs/first --alpha 0.1 --max-macs 2e9")(
        answering(rescore)
    )


def status(folder: options.Search, json: options.Json = False) -> Answer:
    """Show how far a search is. Pairs, the best one, the time left and the time spent."""
    from flows.inputs.searches import status as look

    data = look(folder)

    def show(screen: Console) -> None:
        best = data["best"]
        counts = ", ".join(f"{data[state]} {state}" for state in ("done", "failed", "running"))
        lines = {
            "state": f"{data['state']}, stage: {data['stage']}",
            "owner": data["owner"] or "-",
            "pairs": f"{counts}, of {data['iterations'] + 1}",
            "best": _sentence(best) if best else "-",
            "left": duration(data["eta_s"]),
            "trained": duration(data["cost_s"]),
        }
        for name, line in lines.items():
            screen.print(f"{name:8} {line}", markup=False)

    return Answer(data, show)


def candidates(
    folder: options.Search, top: Top = None, sort: Sort = "score", json: options.Json = False
) -> Answer:
    """Show the table of pairs, best first."""
    from flows.inputs.searches import rows

    return _table(rows(folder), top, sort)


def rescore(
    folder: options.Search,
    alpha: Annotated[float | None, typer.Option(metavar="A", help="How much cost counts.")] = None,
    beta: Annotated[
        float | None, typer.Option(metavar="B", help="Share of the architecture's cost, 0 to 1.")
    ] = None,
    form: Annotated[str | None, typer.Option(metavar="F", help="product, res_power or additive.")] = None,
    max_macs: Annotated[
        float | None, typer.Option(metavar="M", help="Leave out pairs above so many MACs.")
    ] = None,
    cost: Annotated[
        str | None, typer.Option(metavar="C", help="What cost is: macs, params or latency.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose latency, as `jdn measure-latency` calls it.")
    ] = None,
    top: Top = None,
    sort: Sort = "score",
    json: options.Json = False,
) -> Answer:
    """Rank a search under another score. Nothing is trained or changed.

    With --cost latency the table's milliseconds are the target's; ~ marks those that are predicted.
    """
    from flows.inputs.searches import rescored
    from jdn_core.reports.tables import front, ranked

    if target is not None and cost is None:
        cost = "latency"
    asked = {"alpha": alpha, "beta": beta, "form": form, "max_macs": max_macs, "cost": cost, "target": target}
    found = rescored(folder, {key: value for key, value in asked.items() if value is not None})
    if cost != "latency":
        return _table(found.rows, top, sort)
    chosen = ranked(found.rows, by=sort, top=top)
    best = front(found.rows)
    error = found.model.error if found.model else None
    data = {
        "pairs": [row.to_json() | {"latency_is_measured": row.index in found.measured} for row in chosen],
        "front": best,
        "model": found.model.to_json() if found.model else None,
    }

    def show(screen: Console) -> None:
        rows = [_cells(row, predicted=row.index not in found.measured) for row in chosen]
        screen.print(table(COLUMNS, rows, left=3))
        screen.print(f"best AP for their milliseconds: pairs {', '.join(map(str, best))}", markup=False)
        if error is not None:
            screen.print(
                f"~ is predicted from {len(found.measured)} measured pairs; left out one by one, they are "
                f"missed by {error:.1%} (median)",
                markup=False,
            )

    return Answer(data, show)


def _table(rows: tuple[Candidate, ...], top: int | None, sort: str) -> Answer:
    from jdn_core.reports.tables import ranked

    chosen = ranked(rows, by=sort, top=top)

    def show(screen: Console) -> None:
        screen.print(table(COLUMNS, [_cells(row) for row in chosen], left=3))

    return Answer({"pairs": [row.to_json() for row in chosen]}, show)


def _cells(row: Candidate, *, predicted: bool = False) -> tuple[str, ...]:
    return (
        str(row.index),
        row.action,
        row.state,
        "-" if row.parent is None else str(row.parent),
        row.resolution or "-",
        "-" if row.ap is None else f"{row.ap:.4f}",
        "-" if row.teacher_ap is None else f"{row.teacher_ap:.4f}",
        count(row.macs),
        count(row.params),
        "-" if row.latency_ms is None else f"{'~' if predicted else ''}{row.latency_ms:.1f}",
        "-" if row.score is None else f"{row.score:.4f}",
    )


def _sentence(best: dict[str, Any]) -> str:
    numbers = (
        f"AP {best['ap']:.4f}, {count(best['macs'])} MACs at {best['resolution']}, H {best['score']:.4f}"
    )
    return f"pair {best['index']} ({best['action']}): {numbers}"
