"""What a process keeps between jobs: one run's data, closed for the next one's and at the process's end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jdn_core.data.loading import Sample
from jdn_core.data.shapes import generate
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


def _sample(settings: Settings) -> Sample:
    return Sample(0, settings.data.frames[0])
