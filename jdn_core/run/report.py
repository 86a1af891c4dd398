"""Gathers what a run's folder holds for its report, and sums a run up for people and scripts."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jdn_core.data.coco.dataset import read_image
from jdn_core.detector.folder import load_detector
from jdn_core.errors import StorageError
from jdn_core.pool.folder import load_pool_spec
from jdn_core.processes import devices
from jdn_core.reports import curves, examples, page, texts
from jdn_core.reports.contents import Shipped
from jdn_core.reports.contest import cautions, headline, holdout_json
from jdn_core.reports.tables import Candidate, base_row, best_row, candidates
from jdn_core.run import datasets, estimates, result_rows, teacher_caution
from jdn_core.run.file_names import SETTINGS_FILE
from jdn_core.run.fingerprint import noted
from jdn_core.run.folder import TRAINING_FILE, TRAINING_SCHEMA, Run
from jdn_core.run.outcome import Outcome
from jdn_core.search import latencies, phases
from jdn_core.search.standing import Standing
from jdn_core.space.architecture import Resolution
from jdn_core.storage import durable

REPORT = "report"


def write(run: Run, standing: Standing, *, links: Mapping[str, str], is_finished: bool) -> Path:
    """Writes ``report/index.html`` and its figures; examples, which detectors draw, at the end alone.

    Args:
        run: of the search.
        standing: of its pairs, the base among them.
        links: title -> address of pages about the search.
        is_finished: whether the search is at its end.
    """
    return page.write(gather(run, standing, links=links, is_finished=is_finished), run.folder / REPORT)


def gather(run: Run, standing: Standing, *, links: Mapping[str, str], is_finished: bool) -> page.ReportData:
    """Returns everything that the page shows; arguments as ``write`` has them."""
    rows, base = candidates(standing, folder=run.folder), base_row(standing, folder=run.folder)
    best = best_row(rows)
    winner, outcome = standing.graded(best.key).record, Outcome(run, standing)
    losses = winner.evaluation.losses if winner.evaluation else {}
    return page.ReportData(
        name=run.settings.name,
        state="finished" if is_finished else "running",
        rows=rows,
        base=base,
        best=best,
        base_spec=standing.graded(base.key).record.pair.student,
        best_spec=winner.pair.student,
        trainings=(*_trainings(run), curves.loss_curves(f"pair {best.index}, the winner", losses)),
        spent=curves.costs(standing.records),
        examples=tuple(_examples(run, base, result_rows.result_row(outcome))) if is_finished else (),
        settings=_text(run.folder / SETTINGS_FILE),
        facts=_facts(run, standing),
        links=links,
        contest=result_rows.lines(outcome),
        held_out=outcome.held_out,
        cautions=_cautions(run, standing, outcome),
        targets=tuple(_shipped(run, standing)),
        command=f"jdn upgrade {run.folder / SETTINGS_FILE} --out {run.folder}-again",
    )


def _shipped(run: Run, standing: Standing) -> Iterator[Shipped]:
    """Yields what targets have measured of the pairs, and the files that were exported into the folder."""
    for record in standing.records:
        if record.evaluation is None or not record.evaluation.latency:
            continue
        for target, found in latencies.read(run.records.path(record.pair.key)).items():
            numbers = (found.threads, found.median_ms, found.p90_ms)
            yield Shipped(f"pair {record.pair.index}", target, found.runtime, found.precision, *numbers)
    for file in sorted(run.folder.glob("exports/*.json")):
        with contextlib.suppress(StorageError, KeyError):  # what is there need not be ours
            yield _exported(durable.read_json(file))


def _exported(report: Mapping[str, Any]) -> Shipped:
    return Shipped(
        what=Path(report["file"]).name,
        where="",
        runtime=report["runtime"],
        precision=report["precision"],
        threads=report["threads"],
        median_ms=report["latency_ms"],
        p90_ms=report["latency_p90_ms"],
        size=report["bytes"],
        ap=report.get("ap", {}).get("int8"),
    )


def _cautions(run: Run, standing: Standing, outcome: Outcome) -> tuple[str, ...]:
    """Returns what a reader of the numbers has to know: of the held-out photos, and of the teachers."""
    taught = teacher_caution.caution(run, standing)
    return (*cautions(outcome.held_out), *([taught] if taught else ()))


def summary(run: Run, standing: Standing) -> dict[str, Any]:
    """Returns base against the result, and what stood beside them, as ``upgrade --json`` prints it."""
    outcome = Outcome(run, standing)
    found = outcome.held_out
    head = {"search": run.settings.name, "out": str(run.folder), "pairs": len(standing)}
    lines = result_rows.lines(outcome)
    compared = estimates.compared(run)
    return {
        **head,
        "base": base_row(standing, folder=run.folder).to_json(),
        "best": result_rows.result_row(outcome).to_json(),
        "result": outcome.result.name,
        "contest": [line.to_json() for line in lines],
        "headline": headline(lines, found),
        "cautions": list(_cautions(run, standing, outcome)),
        **({"holdout": holdout_json(found)} if found else {}),
        **({"estimate": compared} if compared else {}),
    }


def base_summary(run: Run, standing: Standing) -> dict[str, Any]:
    """Returns the base's row, as ``train-base --json`` prints it."""
    base = base_row(standing, folder=run.folder)
    return {"search": run.settings.name, "out": str(run.folder), "base": base.to_json()}


def pool_summary(run: Run) -> dict[str, Any]:
    """Returns what a pool is, as ``train-pool --json`` prints it; phases that were assessed have their AP."""
    space = load_pool_spec(run.pool).space
    names = [phase.name for phase in run.settings.pool.phases]
    known = {name: phases.read(run.assessment(index)) for index, name in enumerate(names)}
    found = {name: phases.mean_aps(assessment) for name, assessment in known.items() if assessment}
    return {
        "out": str(run.folder),
        "pool": str(run.pool),
        "size": space.size(len(run.settings.data.frames)),
        "largest": str(space.largest),
        "smallest": str(space.smallest),
        **({"phases": found} if found else {}),
    }


def _trainings(run: Run) -> Iterator[curves.LossCurves]:
    """Reads the loss curves of the base and of the pool's phases, as far as they were trained here."""
    named = {f"pool: {phase.name}": run.phase(i) for i, phase in enumerate(run.settings.pool.phases)}
    for title, folder in {"base": run.base, **named}.items():
        if (file := folder / TRAINING_FILE).is_file():
            yield curves.loss_curves(title, durable.read_json(file, schema=TRAINING_SCHEMA)["losses"])


def _examples(run: Run, base: Candidate, best: Candidate) -> Iterator[Path]:
    """Draws some validation photos under truth, base and student, each detector at its row's resolution."""
    device = devices.choose(run.settings.device)
    photos = examples.some_of(
        datasets.dataset(run.settings.data, "val"), run.settings.tracking.preview_images
    )
    names = [category.name for category in photos.categories]
    looks = []
    for title, candidate in (("base", base), ("student", best)):
        detector = load_detector(Path(str(candidate.weights)).parent, device)
        frame = Resolution.parse(str(candidate.resolution))
        looks.append(examples.look(detector, photos, title=f"{title} at {frame}", resolution=frame))
    folder = run.folder / REPORT / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    for photo, *found in zip(photos.images, *looks, strict=True):
        panels = [examples.truth(photo), *(panel.confident() for panel in found)]
        sheet = examples.draw(read_image(photo), panels, names=names)
        yield examples.save(sheet, folder / f"{photo.id}.jpg")


def _facts(run: Run, standing: Standing) -> dict[str, str]:
    """Returns environment and provenance, in the order to show."""
    timings = [record.evaluation.timing for record in standing.records if record.evaluation]
    measured = sorted({f"{timing.device}, {timing.threads} threads" for timing in timings})
    facts = {
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "measured on": "; ".join(measured),
        "training of all pairs": f"{sum(timing.train_seconds for timing in timings) / 60:.1f} min",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        **_time_and_disk(run),
        "data": str(run.settings.data.root),
        "folder": str(run.folder),
    }
    return facts | {name: str(value) for name, value in noted(run.folder).items()}


def _time_and_disk(run: Run) -> dict[str, str]:
    """Returns what was estimated before the run and what it took; nothing where that was not done."""
    found = estimates.compared(run)
    if found is None:
        return {}
    stages = ", ".join(
        f"{name} {texts.duration(found['estimated'][name])} and {texts.duration(seconds)}"
        for name, seconds in found["taken"].items()
    )
    before, after = (texts.duration(found[key]) for key in ("estimated_seconds", "seconds"))
    most, now = (texts.size(found[key]) for key in ("estimated_bytes", "bytes"))
    return {
        "time": f"{before} estimated, {after} taken ({stages})",
        "disk": f"{most} estimated at the most, {now} at the end",
    }


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""
