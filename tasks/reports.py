"""The report of a search, its figures, and the summary that commands print."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.data.coco.dataset import read_image
from jdn_core.detector.folder import load_detector
from jdn_core.reports import curves, examples, page
from jdn_core.reports.tables import Candidate, base_row, best_row, candidates
from jdn_core.run import assemble
from jdn_core.run.file_names import FINGERPRINT_FILE, SETTINGS_FILE
from jdn_core.run.folder import TRAINING_FILE, Run
from jdn_core.search.pairs import PairRecord
from jdn_core.search.standing import Standing
from jdn_core.space.architecture import Resolution
from jdn_core.storage import durable
from tasks.tracking import links

REPORT = "report"


@task(name="write report", cache_policy=NO_CACHE)
def write_report(run: Run) -> Path:
    """Writes ``report/index.html``, which stands by itself, and the figures beside it."""
    return page.write(report_data(run, state="finished", pictures=True), run.folder / REPORT)


@task(name="draw figures", cache_policy=NO_CACHE)
def draw_figures(run: Run) -> Path | None:
    """The report so far, without pictures, after every tenth pair; MLflow takes it from the folder."""
    count = len(run.records.all())
    if count % run.settings.tracking.figures_every:
        return None
    return page.write(report_data(run, state="running", pictures=False), run.folder / REPORT)


def summarise(run: Run) -> dict[str, Any]:
    """Base against best: what ``upgrade --json`` prints."""
    rows, base = _rows(run)
    best = best_row(rows)
    head = {"search": run.settings.name, "out": str(run.folder), "pairs": len(rows)}
    return {**head, "base": base.to_json(), "best": best.to_json(), "mlflow": links.where(run)}


def base_summary(run: Run) -> dict[str, Any]:
    """What ``train-base --json`` prints."""
    _, base = _rows(run)
    return {"search": run.settings.name, "out": str(run.folder), "base": base.to_json()}


def report_data(run: Run, *, state: str, pictures: bool) -> page.ReportData:
    """Everything that the page shows, out of the run's folder."""
    records, (rows, base) = run.records.all(), _rows(run)
    best = best_row(rows)
    spec_of = {record.pair.index: record.pair.student for record in records}
    losses = next(r.evaluation.losses for r in records if r.pair.index == best.index and r.evaluation)
    return page.ReportData(
        name=run.settings.name,
        state=state,
        rows=rows,
        base=base,
        best=best,
        base_spec=spec_of[base.index],
        best_spec=spec_of[best.index],
        trainings=(*_trainings(run), curves.loss_curves(f"pair {best.index}, the winner", losses)),
        spent=curves.costs(records),
        examples=tuple(_pictures(run, base, best)) if pictures else (),
        settings=_text(run.folder / SETTINGS_FILE),
        facts=_facts(run, records),
        links=_links(run),
    )


def _rows(run: Run) -> tuple[tuple[Candidate, ...], Candidate]:
    """The table of pairs, and the base's row."""
    standing = Standing(run.settings.score, run.records.all())
    return candidates(standing, folder=run.folder), base_row(standing, folder=run.folder)


def _trainings(run: Run) -> Iterator[curves.LossCurves]:
    """Loss curves of the base and of the pool's phases, as far as they were trained here."""
    phases = {f"pool: {phase.name}": run.phase(i) for i, phase in enumerate(run.settings.pool.phases)}
    for title, folder in {"base": run.base, **phases}.items():
        if (file := folder / TRAINING_FILE).is_file():
            yield curves.loss_curves(title, durable.read_json(file)["losses"])


def _pictures(run: Run, base: Candidate, best: Candidate) -> Iterator[Path]:
    """Some validation photos under truth, base and student, each detector at its row's resolution."""
    device = assemble.device(run.settings.device)
    photos = examples.some_of(
        assemble.dataset(run.settings.data, "val"), run.settings.tracking.preview_images
    )
    names = [category.name for category in photos.categories]
    looks = []
    for title, row in (("base", base), ("student", best)):
        detector = load_detector(run.records.path(row.key), device)
        frame = Resolution.parse(str(row.resolution))
        looks.append(examples.look(detector, photos, title=f"{title} at {frame}", resolution=frame))
    folder = run.folder / REPORT / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    for photo, *found in zip(photos.images, *looks, strict=True):
        panels = [examples.truth(photo), *(panel.confident() for panel in found)]
        sheet = examples.draw(read_image(photo), panels, names=names)
        yield examples.save(sheet, folder / f"{photo.id}.jpg")


def _facts(run: Run, records: tuple[PairRecord, ...]) -> dict[str, str]:
    timings = [record.evaluation.timing for record in records if record.evaluation]
    devices = sorted({f"{timing.device}, {timing.threads} threads" for timing in timings})
    facts = {
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "measured on": "; ".join(devices),
        "training of all pairs": f"{sum(timing.train_seconds for timing in timings) / 60:.1f} min",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "data": str(run.settings.data.root),
        "folder": str(run.folder),
    }
    file = run.folder / FINGERPRINT_FILE
    return facts | (durable.read_json(file) if file.is_file() else {})


def _links(run: Run) -> dict[str, str]:
    seen = links.of(run)
    if seen is None:
        return {}
    return {"The search in MLflow": seen.search, "pairs by score": seen.pairs, "charts": seen.charts}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""
