"""`jdn study`: a claim of the paper, tried on the data that a user has.

Imports inside functions keep ``jdn --help`` quick; those of flows also come after all refusals, for Prefect
takes seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, count, duration, table
from flows.servers.embedded import before_prefect, require_home

if TYPE_CHECKING:
    from rich.console import Console

    from jdn_core.settings.whole import Settings
    from jdn_core.studies.read import Reader
    from jdn_core.studies.study import Study

ALL = "all"
HOUR = 3600.0
SEEDS, QUICK_SEEDS = 3, 1
EXAMPLE = "Example: jdn study distillation bccd_cpu --data photos --seeds 3 --out runs/studies"
Source = Annotated[
    list[str],
    typer.Argument(
        metavar="SETTINGS|SEARCH",
        help="A settings file or preset; finished searches, for studies that read them.",
    ),
]
# Written here too, for the catalogue needs torch; a test holds both against each other.
TRAINED = (
    "pool-quality", "pruning", "distillation", "features", "localisation", "dynamic-teacher", "iterative",
    "sparsity", "teacher-size", "joint", "fine-tuning", "pool-search",
)  # fmt: skip
READ = ("cost", "actions", "computation", "progress", "pareto")
HEADS = ("arm", "AP by seed", "AP", "H", "MACs", "images x MACs", "time")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("study", epilog=EXAMPLE)(answering(study))


def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="By its name or the paper's label, such as T3. Those that train: "
            f"{', '.join(TRAINED)}; all: each of these. Those that read searches: {', '.join(READ)}.",
        ),
    ],
    source: Source,
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
    from jdn_core.studies import catalogue
    from jdn_core.studies.read import Reader

    require_home()
    found = None if name == ALL else catalogue.find(name)
    if isinstance(found, Reader):
        answer = _read(found, source, out)
        return Answer(answer, lambda screen: _show(screen, answer))
    changes = {"data": data, "sets": sets, "device": device, "threads": threads}
    settings = _settings(source, changes | {"drop_bad_boxes": drop_bad_boxes}, quick=quick)
    out = out or Path("runs") / f"{settings.name}-{'quick-' if quick else ''}studies"
    plan = _Plan(seeds or (QUICK_SEEDS if quick else SEEDS), hours)
    answers = _train([found] if found else list(catalogue.STUDIES.values()), settings, out, plan)
    if found is None:
        return Answer({"studies": answers}, lambda screen: _show_all(screen, answers))
    return Answer(answers[0], lambda screen: _show(screen, answers[0]))


@dataclass(frozen=True)
class _Plan:
    """How many seeds, and hours after which no training begins; none: no limit."""

    seeds: int
    hours: float | None


def _settings(source: list[str], changes: dict[str, Any], *, quick: bool) -> Settings:
    from flows.launch import requests
    from jdn_core.errors import UsageError
    from jdn_core.studies.quick import quick as smallest

    if len(source) > 1:
        raise UsageError(f"a study that trains takes one settings file or preset, got {', '.join(source)}")
    settings = requests.of_source(source[0], requests.overrides(**changes))
    return smallest(settings) if quick else settings


def _train(chosen: list[Study], settings: Settings, out: Path, plan: _Plan) -> list[dict[str, Any]]:
    """Runs studies one after another; one that the time does not reach is unfinished."""
    from flows.launch.endings import following
    from flows.studies.opening import prepared

    deadline = None if plan.hours is None else time.monotonic() + HOUR * plan.hours
    studies, answers = prepared(settings, out), []
    before_prefect()
    from flows.studies import trained

    with following(studies.folder):
        for each in chosen:
            try:
                answers.append(trained.run(studies, each, seeds=plan.seeds, deadline=deadline))
            except trained.OutOfTime:
                answers.append(trained.unfinished(studies, each))
    return answers


def _read(reader: Reader, source: list[str], out: Path | None) -> dict[str, Any]:
    """Reads finished searches; the answer lies in the first one's folder if none is named."""
    from flows.inputs.folders import absolute, is_search
    from jdn_core.errors import InputMissing

    searches = [absolute(Path(each)) for each in source]
    for each in searches:
        if not is_search(each):
            raise InputMissing(f"{each}: no search there; {reader.name} reads finished searches")
    before_prefect()
    from flows.studies import reading

    return reading.run(reader, searches, out or searches[0] / "studies")


def _show(screen: Console, found: dict[str, Any]) -> None:
    """Prints the arms, the comparisons, and what follows from them."""
    from jdn_core.reports.study_page import basis, difference, verdict

    screen.print(f"{found['study']} ({found['label']}): {found['claim']}", markup=False)
    screen.print(f"the paper: {found['paper']}", markup=False)
    rows = found["rows"]
    if rows and "arm" in rows[0]:
        screen.print(table(HEADS, [_cells(row) for row in rows], left=2))
    elif rows:
        heads = [name.replace("_", " ") for name in rows[0]]
        screen.print(table(heads, [tuple(map(_plain, row.values())) for row in rows]))
    claims = [
        (
            each["comparison"],
            difference(each["measure"], each["difference"], each["interval"]),
            each["verdict"] if each["decides"] else f"({each['verdict']})",
        )
        for each in found["comparisons"]
    ]
    if claims:
        screen.print(table(("comparison", "difference", "verdict"), claims, left=3))
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


def _plain(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
