"""`jdn study`: a claim of the paper, tried on the data that a user has.

Imports inside functions keep ``jdn --help`` quick; those of flows also come after all refusals, for Prefect
takes seconds.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, count, duration, table
from flows.servers.embedded import before_prefect, require_home

if TYPE_CHECKING:
    from rich.console import Console

    from jdn_core.settings.whole import Settings
    from jdn_core.studies.study import Study

ALL = "all"
HOUR = 3600.0
SEEDS, QUICK_SEEDS = 3, 1
EXAMPLE = "Example: jdn study distillation bccd_cpu --data photos --seeds 3 --out runs/studies"
HEADS = ("arm", "AP by seed", "AP", "H", "MACs", "images x MACs", "time")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("study", epilog=EXAMPLE)(answering(study))


def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A study, by its name or the paper's label (T3); all: each of them."
        ),
    ],
    source: options.Source,
    data: options.Data = None,
    sets: options.Set = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, metavar="N", help="Trainings of each arm. [default: 3]")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="The smallest trainings that run: shows that it works, not what is true."
        ),
    ] = False,
    hours: Annotated[
        float | None,
        typer.Option(
            "--hours", min=0.0, metavar="H", help="After which no training begins; what is done is kept."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of all studies of these settings. [default: runs/NAME-studies]",
        ),
    ] = None,
    device: options.Device = None,
    threads: options.Threads = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Try a claim of the paper on your data. The same command again goes on where it stopped."""
    from flows.launch import requests
    from jdn_core.studies import catalogue
    from jdn_core.studies.quick import quick as smallest

    chosen = list(catalogue.STUDIES.values()) if name == ALL else [catalogue.find(name)]
    require_home()
    changes = requests.overrides(
        data=data, sets=sets, device=device, threads=threads, drop_bad_boxes=drop_bad_boxes
    )
    settings = requests.of_source(source, changes)
    out = out or Path("runs") / f"{settings.name}-{'quick-' if quick else ''}studies"
    settings = smallest(settings) if quick else settings
    deadline = None if hours is None else time.monotonic() + HOUR * hours
    found = _run(chosen, settings, out, seeds or (QUICK_SEEDS if quick else SEEDS), deadline)
    if name == ALL:
        return Answer({"studies": found}, lambda screen: _show_all(screen, found))
    return Answer(found[0], lambda screen: _show(screen, found[0]))


def _run(
    chosen: list[Study], settings: Settings, out: Path, seeds: int, deadline: float | None
) -> list[dict[str, Any]]:
    """Runs studies one after another; one that the time does not reach is said to be unfinished."""
    from flows.studies.opening import following, prepared

    studies, found = prepared(settings, out), []
    before_prefect()
    from flows.studies import trained

    with following(studies.folder):
        for each in chosen:
            try:
                found.append(trained.run(studies, each, seeds=seeds, deadline=deadline))
            except trained.OutOfTime:
                found.append(trained.unfinished(studies, each))
    return found


def _show(screen: Console, found: dict[str, Any]) -> None:
    """Prints the arms, the comparisons, and what follows from them."""
    from jdn_core.reports.study_page import basis, difference, verdict

    screen.print(f"{found['study']} ({found['label']}): {found['claim']}", markup=False)
    screen.print(f"the paper: {found['paper']}", markup=False)
    if found["rows"]:
        screen.print(table(HEADS, [_cells(row) for row in found["rows"]], left=2))
    rows = [
        (
            each["comparison"],
            difference(each["measure"], each["difference"], each["interval"]),
            each["verdict"] if each["decides"] else f"({each['verdict']})",
        )
        for each in found["comparisons"]
    ]
    if rows:
        screen.print(table(("comparison", "difference", "verdict"), rows, left=3))
    screen.print(f"{verdict(found)} {basis(found)}", markup=False)
    if page := found.get("page"):
        screen.print(f"page: {page}", markup=False, soft_wrap=True)


def _show_all(screen: Console, found: list[dict[str, Any]]) -> None:
    """Prints a line for each study."""
    from jdn_core.reports.study_page import difference

    rows = []
    for each in found:
        measure = each["comparisons"][0]["measure"] if each["comparisons"] else "ap"
        said = difference(measure, each["difference"], each["interval"])
        rows.append((each["study"], each["label"], each["verdict"], said, duration(each["seconds"])))
    screen.print(table(("study", "paper", "verdict", "difference", "time"), rows, left=4))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    by_seed = " ".join(_fraction(ap) for ap in row["ap_by_seed"])
    score = "-" if row["score"] is None else f"{row['score']:.4f}"
    macs = f"{count(row['macs'])} at {', '.join(row['resolutions'])}"
    cost = (count(row["image_macs"]), duration(row["seconds"]))
    return row["arm"], by_seed, _fraction(row["ap"]), score, macs, *cost


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
