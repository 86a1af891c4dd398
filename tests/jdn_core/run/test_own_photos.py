"""Photos as people have them: the settings that suit them, slimmed, run through to held-out numbers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.inputs.settings_file import changed, load, read_set
from flows.inputs.suggested import suggested
from flows.launch import initial
from jdn_core.run.folder import Run
from jdn_core.settings.data import DataSettings
from jdn_core.settings.whole import Settings
from tests.crash.tiny_search import go_on
from tests.odd_data import KINDS, draw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# What is left of the suggestion are frames, anchors, classes, batches, regimes, space and held-out photos.
SLIM = (
    "detector.width=0.125", "detector.neck=16", "detector.head=16", "base.epochs=2", "threads=1",
    "pool.phases.0.epochs=1", "pool.phases.1.epochs=1", "pool.phases.2.epochs=1", "evaluation.epochs=1",
    "evaluation.latency_repeats=1", "search.frozen_student_iterations=1", "search.controls=[longer]",
)  # fmt: skip
FEW = ("data.max_train_images=12", "data.max_val_images=12")


@pytest.fixture(autouse=True)
def _same_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run_through(settings: Settings, folder: Path, *sets: str) -> None:
    """Two pairs, controls and all; base and pairs have an AP at every frame."""
    folder.mkdir()
    slim = changed(settings, read_set([*SLIM, *sets]))
    go_on(slim, folder)
    records = Run(slim, folder).records.all()
    assert [record.state for record in records] == ["done"] * 3, [record.reason for record in records]
    for record in records:
        assert record.evaluation is not None
        assert len(record.evaluation.measurements) == len(slim.data.resolutions)
    assert (folder / "controls" / "holdout.json").is_file() == bool(slim.data.holdout)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_odd_photos_run_through(kind: str, tmp_path: Path) -> None:
    root = draw(KINDS[kind], tmp_path / kind)
    run_through(suggested(DataSettings(root=root), device="cpu").settings, tmp_path / "run")


@pytest.mark.parametrize("name", ["bccd", "coco_mini"])
def test_real_photos_run_through(name: str, jdn_data: Path, tmp_path: Path) -> None:
    found = suggested(DataSettings(root=jdn_data / name), device="cpu")
    smaller = f"data.resolutions=[{','.join(map(str, found.suggestion.frames[:2]))}]"
    run_through(found.settings, tmp_path / "run", *FEW, smaller)


@pytest.mark.parametrize("case", ["modes", "exif_upright", "crowd", "ids_gaps"])
def test_tricky_files_run_through(case: str, jdn_data: Path, tmp_path: Path) -> None:
    places: dict[str, Any] = {
        "train_json": jdn_data / f"tricky/annotations/{case}.json",
        "train_images": jdn_data / "tricky/images",
    }
    run_through(initial.looked_at(places, device="cpu").settings, tmp_path / "run")


@pytest.mark.parametrize("preset", ["photos_r18", "photos_r50"])
@pytest.mark.parametrize("name", ["bccd", "coco_mini"])
def test_presets_for_own_photos_run_slim(preset: str, name: str, jdn_data: Path, tmp_path: Path) -> None:
    settings = load(preset, read_set([f"data.root={jdn_data / name}", "device=cpu"]))
    frames = "data.resolutions=[96x72,128x96]"
    run_through(settings, tmp_path / "run", *FEW, frames, "data.workers=0", "data.holdout=0.5")
