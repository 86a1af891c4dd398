"""The commands that train: the whole upgrade, its stages by themselves, and going on after a stop.

Imports inside functions keep ``jdn --help`` quick; those of flows also come after all refusals, for Prefect
takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, count, duration, say, table
from flows.servers.embedded import before_prefect, require_home

if TYPE_CHECKING:
    from rich.console import Console

    from flows.launch.start import Flow
    from jdn_core.settings.whole import Settings

# Shapes of 16 px and more, so that a base of one minute finds most of them.
DEMO_IMAGES, DEMO_SIZE, DEMO_LEAST = 320, 96, 1 / 6
MORE_THAN_BASE_AND_WINNER = 2  # lines of the table
Base = Annotated[
    Path, typer.Option("--base", metavar="DIR", help="A trained base: its folder, or its run in MLflow.")
]
Pool = Annotated[
    Path, typer.Option("--pool", metavar="DIR", help="A trained pool: its folder, or its run in MLflow.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say how long it will take and how much disk; train nothing.")
]
FromMlflow = Annotated[
    str | None,
    typer.Option(
        "--from-mlflow", metavar="RUN_ID", help="Fetch the search of this run first; SEARCH is a new folder."
    ),
]
Fork = Annotated[
    Path | None,
    typer.Option("--fork", metavar="DIR", help="Begin a new search there, with these pairs and other --set."),
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    examples: dict[Callable[..., Answer], str] = {
        demo: "jdn demo --out runs/demo",
        upgrade: "jdn upgrade photos --checkpoint faster_rcnn.pth --out runs/first",
        train_base: "jdn train-base bccd_cpu --data photos --out runs/base",
        train_pool: "jdn train-pool bccd_cpu --data photos --out runs/pool",
        search: "jdn search bccd_cpu --data photos --base runs/base --pool runs/pool --out runs/second",
        resume: "jdn resume runs/first --set search.iterations=60",
    }
    for command, example in examples.items():
        app.command(command.__name__.replace("_", "-"), epilog=f"Example: {example}")(answering(command))


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")] = Path(
        "runs/demo"
    ),
    sets: options.Set = None,
    device: options.Device = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> Answer:
    """Run the whole upgrade on drawn shapes, in minutes. Run again in the same folder, it goes on."""
    from flows.inputs.folders import writable
    from flows.launch import requests, start
    from jdn_core.data.shapes import generate

    require_home()
    data = writable(out) / "data"
    if not data.exists():
        generate(data, images=DEMO_IMAGES, size=DEMO_SIZE, seed=0, least=DEMO_LEAST)
    changes = requests.overrides(data=data, sets=sets, device=device, threads=threads)
    settings = requests.of_source("demo", changes)
    return _upgraded(start.start(_upgrade, settings, out, again=True))


def upgrade(
    source: options.Photos = None,
    data: options.Data = None,
    checkpoint: options.Checkpoint = None,
    train_json: options.TrainJson = None,
    train_images: options.TrainImages = None,
    val_json: options.ValJson = None,
    val_images: options.ValImages = None,
    sets: options.Set = None,
    name: options.Name = None,
    out: options.Out = None,
    workers: options.Workers = None,
    device: options.Device = None,
    threads: options.Threads = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    dry_run: DryRun = False,
    json: options.Json = False,
) -> Answer:
    """Make a better, cheaper detector of a dataset. Base, pool of teachers, search and report, in one run."""
    from flows.launch import start

    given = {name: value for name, value in locals().items() if name not in ("dry_run", "json", "start")}
    require_home()
    out = given.pop("out")
    settings = _settings_for(given)
    out = out or Path("runs") / settings.name
    return _estimated(settings, out) if dry_run else _upgraded(start.start(_upgrade, settings, out))


def train_base(
    source: options.Source,
    data: options.Data = None,
    train_json: options.TrainJson = None,
    train_images: options.TrainImages = None,
    val_json: options.ValJson = None,
    val_images: options.ValImages = None,
    sets: options.Set = None,
    name: options.Name = None,
    out: options.Out = None,
    device: options.Device = None,
    threads: options.Threads = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Train the base detector alone. The same command again goes on where it stopped."""
    return _stage(_start(_train_base, locals(), suffix="-base", again=True))


def train_pool(
    source: options.Source,
    data: options.Data = None,
    train_json: options.TrainJson = None,
    train_images: options.TrainImages = None,
    val_json: options.ValJson = None,
    val_images: options.ValImages = None,
    sets: options.Set = None,
    name: options.Name = None,
    out: options.Out = None,
    device: options.Device = None,
    threads: options.Threads = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Train the pool of teachers alone. The same command again goes on where it stopped."""
    return _stage(_start(_train_pool, locals(), suffix="-pool", again=True))


def search(
    source: options.Source,
    base: Base,
    pool: Pool,
    data: options.Data = None,
    train_json: options.TrainJson = None,
    train_images: options.TrainImages = None,
    val_json: options.ValJson = None,
    val_images: options.ValImages = None,
    sets: options.Set = None,
    name: options.Name = None,
    out: options.Out = None,
    workers: options.Workers = None,
    device: options.Device = None,
    threads: options.Threads = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Search with a trained base and pool. So one pool serves many searches."""
    return _upgraded(_start(_search, locals()))


def resume(
    folder: options.Search,
    sets: options.Set = None,
    workers: options.Workers = None,
    device: options.Device = None,
    threads: options.Threads = None,
    data: options.Data = None,
    from_mlflow: FromMlflow = None,
    fork: Fork = None,
    json: options.Json = False,
) -> Answer:
    """Go on where a search stopped. Only devices, places and more iterations may change, but for a fork."""
    from flows.launch import requests, start

    require_home()
    changes = requests.overrides(sets=sets, data=data, workers=workers, device=device, threads=threads)
    if from_mlflow is not None:
        from flows.launch.rebuild import rebuild

        settings = rebuild(from_mlflow, folder, changes)
    else:
        settings = requests.of_folder(folder, changes)
    if fork is not None:
        from flows.launch.fork import fork as begin

        begin(folder, fork, settings)
        folder = fork
    return _upgraded(start.resume(_upgrade, settings, folder))


def _start(flow: Flow, given: dict[str, Any], *, suffix: str = "", again: bool = False) -> dict[str, Any]:
    """Starts a flow with what a command was given: its local variables, which are its options."""
    from flows.launch import requests, start

    require_home()
    source, out, _ = (given.pop(name) for name in ("source", "out", "json"))
    stages: dict[str, Path] = {name: given.pop(name) for name in ("base", "pool") if name in given}
    settings = requests.of_source(source, requests.overrides(**given))
    out = out or Path("runs") / f"{settings.name}{suffix}"
    return start.start(flow, settings, out, stages=stages, again=again)


def _settings_for(given: dict[str, Any]) -> Settings:
    """Returns the settings that an upgrade was given, or those that suit photos that came without any."""
    from flows.inputs.suggested import in_short
    from flows.launch import initial, requests

    source = given.pop("source")
    if source is not None and not os.path.isdir(source):
        return requests.of_source(source, requests.overrides(**given))
    found = initial.looked_at(
        initial.places(source, given),
        checkpoint=given.pop("checkpoint"),
        device=given["device"] or "auto",
        drop_bad_boxes=given.pop("drop_bad_boxes"),
    )
    for line in in_short(found):
        say(line)
    return initial.laid_over(found, requests.overrides(**given))


def _estimated(settings: Settings, out: Path) -> Answer:
    """Checks all that a run begins with, and measures a step of each kind; writes nothing."""
    from flows import estimating
    from jdn_core.run import estimates
    from jdn_core.run.checks import check_inputs

    check_inputs(settings, out)
    say("measuring a step of each kind")
    found = estimates.estimate(settings)

    def show(screen: Console) -> None:
        screen.print(table(["stage", "time"], estimating.rows(found)))
        screen.print(table(["a step of", "seconds a photo"], estimating.step_rows(found)))
        for line in (f"{settings.name}: {estimating.in_words(found)}", *estimating.advice(found, settings)):
            screen.print(line, markup=False, soft_wrap=True)

    return Answer({"search": settings.name, "out": str(out), "estimate": found.to_json()}, show)


def _upgrade(settings: Settings, out: Path) -> dict[str, Any]:
    before_prefect()
    from flows.upgrade import upgrade

    return upgrade(settings, out)


def _train_base(settings: Settings, out: Path) -> dict[str, Any]:
    before_prefect()
    from flows.train_base import train_base

    return train_base(settings, out)


def _train_pool(settings: Settings, out: Path) -> dict[str, Any]:
    before_prefect()
    from flows.train_pool import train_pool

    return train_pool(settings, out)


def _search(settings: Settings, out: Path) -> dict[str, Any]:
    before_prefect()
    from flows.search import search

    return search(settings, out)


def _upgraded(data: dict[str, Any]) -> Answer:
    return Answer(data, lambda screen: _show(screen, data))


def _show(screen: Console, data: dict[str, Any]) -> None:
    """Prints what was found on held-out photos, then base against result, then where to look next."""
    base, best, out = data["base"], data["best"], data["out"]
    name = {"winner": "best student"}.get(data["result"], data["result"])
    if data.get("holdout") or len(data["contest"]) > MORE_THAN_BASE_AND_WINNER:
        _show_contest(screen, data)
    screen.print(
        f"{data['search']}: base and {name} after {data['pairs']} pairs, as the search measured them"
    )
    screen.print(table(["", "base", name, "change"], comparison(base, best)))
    mlflow = data.get("mlflow") or {}
    if found := data.get("estimate"):
        screen.print(_kept_time(found), markup=False, soft_wrap=True)
    lines = {
        "report": f"{out}/report/index.html",
        "all pairs": f"jdn candidates {out}",
        "try it": f"jdn predict {out} PICTURE --out pictures",
        "MLflow": _tracked(mlflow, out),
        "Prefect": "prefect server start",
    }
    for name, line in lines.items():
        screen.print(f"{name:10} {line}", markup=False, soft_wrap=True)


def _show_contest(screen: Console, data: dict[str, Any]) -> None:
    """Prints base, controls and winner, held-out numbers first."""
    from jdn_core.reports.contest import HEADS, Line, cells

    found = data.get("holdout")
    if found:
        photos = f"{found['images']} photos, {found['boxes']} boxes"
        screen.print(f"held-out AP: on {photos} (never seen by the search)", soft_wrap=True)
    screen.print("AP on val: on the photos that the search optimised; * is the result", soft_wrap=True)
    screen.print(table(HEADS, [cells(Line(**line)) for line in data["contest"]]))
    screen.print(data["headline"], markup=False)
    for caution in data["cautions"]:
        screen.print(f"caution: {caution}", markup=False)
    screen.print()


def _kept_time(found: dict[str, Any]) -> str:
    """Says what was estimated and what it took."""
    stages = ", ".join(
        f"{name} {duration(found['estimated'][name])} / {duration(seconds)}"
        for name, seconds in found["taken"].items()
    )
    whole = f"{duration(found['estimated_seconds'])} / {duration(found['seconds'])}"
    return f"time, estimated / taken: {whole} ({stages})"


def _tracked(mlflow: dict[str, Any], out: str) -> str:
    """Says how to see the search in MLflow, or that MLflow was not told of all of it."""
    if mlflow.get("missing") or mlflow.get("error"):
        why = f": {mlflow['error']}" if mlflow.get("error") else ""
        return f"{mlflow['uri']} has not been told of all of it{why}; `jdn sync {out}` sends the rest"
    return mlflow.get("command") or mlflow.get("uri") or "-"


def comparison(base: dict[str, Any], best: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Builds rows (name, base, best, change) of two pairs; differences for AP and H, ratios for costs."""
    rows = [("AP", _fraction(base["ap"]), _fraction(best["ap"]), _difference(base["ap"], best["ap"]))]
    for name, key in (("MACs", "macs"), ("parameters", "params")):
        rows.append((name, count(base[key]), count(best[key]), _ratio(base[key], best[key])))
    before, after = (f"{row['latency_ms']:.1f} ms" if row["latency_ms"] else "-" for row in (base, best))
    rows.append(("latency", before, after, _ratio(base["latency_ms"], best["latency_ms"])))
    rows.append(
        ("H", _fraction(base["score"]), _fraction(best["score"]), _difference(base["score"], best["score"]))
    )
    rows.append(("resolution", str(base["resolution"]), str(best["resolution"]), ""))
    pair = "-" if best["index"] is None else str(best["index"])
    rows.append(("pair", str(base["index"]), pair, str(best["action"])))
    return rows


def _stage(data: dict[str, Any]) -> Answer:
    """Shows a stage's result: of the base, what compares detectors; of the pool, AP after each phase."""
    base = data.get("base") or {}
    rows = [(key, str(value)) for key, value in data.items() if not isinstance(value, dict | list)]
    if base:
        rows += [
            ("AP", _fraction(base["ap"])),
            ("MACs", count(base["macs"])),
            ("parameters", count(base["params"])),
        ]
        rows.append(("resolution", str(base["resolution"])))
    for phase, found in data.get("phases", {}).items():
        rows += [(f"{kind.replace('ap_', 'AP ')} after {phase}", _fraction(ap)) for kind, ap in found.items()]
    return Answer(data, lambda screen: screen.print(table(["result", ""], rows, left=2)))


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _difference(old: float | None, new: float | None) -> str:
    return "-" if old is None or new is None else f"{new - old:+.4f}"


def _ratio(old: float | None, new: float | None) -> str:
    return f"{new / old - 1:+.1%}" if old and new else "-"
