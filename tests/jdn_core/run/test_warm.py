"""What a process keeps between jobs: one run's data, closed for the next one's and at the process's end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jdn_core.data.loading import Sample
from jdn_core.data.shapes import generate
from jdn_core.processes.devices import shares
from jdn_core.processes.workers import Workers
from jdn_core.run import datasets, warm
from jdn_core.settings.whole import Settings
from tests.tiny_run import tiny_settings


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    generate(tmp_path / "data", images=10, size=64, seed=0)
    yield tiny_settings(tmp_path / "data")
    warm.close()


def test_the_jobs_of_a_run_share_one_bench(settings: Settings) -> None:
    bench = warm.bench(settings)
    assert warm.bench(settings.model_copy()) is bench
    assert bench.train_set is datasets.dataset(settings.data, "train")


def test_other_settings_close_the_bench_that_was_kept(settings: Settings) -> None:
    bench = warm.bench(settings)
    cache = bench.train._reader.cache
    list(bench.train.batches([[_sample(settings)]]))
    assert cache.bytes > 0
    other = warm.bench(settings.model_copy(update={"seed": settings.seed + 1}))
    assert other is not bench
    assert cache.bytes == 0
    assert len(warm._kept) == 1


def test_nothing_is_kept_after_close(settings: Settings) -> None:
    bench = warm.bench(settings)
    warm.close()
    assert warm._kept == {}
    assert warm.bench(settings) is not bench


def keep_one(data: Path, note: Path) -> None:
    """Leaves a bench behind that writes a file when it is closed."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(warm.bench(tiny_settings(data)).train, "close", note.touch)


def test_the_end_of_a_worker_closes_its_bench(settings: Settings, tmp_path: Path) -> None:
    note = tmp_path / "closed"
    assert settings.data.root is not None
    with Workers(shares(1, device="cpu", threads=1)) as one:
        one.run(keep_one, settings.data.root, note)
        assert not note.exists()
    assert note.exists()


def _sample(settings: Settings) -> Sample:
    return Sample(0, settings.data.frames[0])
