"""Batches are a function of the plan alone: not of workers, caches or what was loaded before."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.data.loading import Batch, BatchLoader, ImageCache, Plan, Sample, pad_together
from jdn_core.errors import DataError
from jdn_core.space.architecture import Resolution

SMALL, LARGE = Resolution(48, 40), Resolution(64, 64)
PLAN = (
    (Sample(0, SMALL), Sample(1, SMALL, flip=True)),
    (Sample(2, LARGE), Sample(3, SMALL, flip=True), Sample(0, LARGE)),
    (Sample(1, SMALL),),
)
OTHER: Plan = [[Sample(4, LARGE)], [Sample(2, LARGE, flip=True)]]


def assert_same(batches: Iterable[Batch], others: Iterable[Batch]) -> None:
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch.images, other.images)
        assert (batch.sizes, batch.ids, batch.original_sizes) == (
            other.sizes,
            other.ids,
            other.original_sizes,
        )
        for target, twin in zip(batch.targets, other.targets, strict=True):
            assert torch.equal(target["boxes"], twin["boxes"])
            assert torch.equal(target["labels"], twin["labels"])


def plain(dataset: CocoDataset, plan: Plan) -> list[Batch]:
    return list(BatchLoader(dataset).batches(plan))


def test_a_batch_holds_what_the_plan_says(train: CocoDataset) -> None:
    batch = plain(train, PLAN)[1]
    assert batch.images.shape == (3, 3, 64, 64)
    assert batch.sizes == [(64, 64), (40, 40), (64, 64)]
    assert batch.ids == [train.images[position].id for position in (2, 3, 0)]
    assert batch.original_sizes == [(64, 64)] * 3
    assert batch.images[1, :, 40:].abs().sum() + batch.images[1, :, :, 40:].abs().sum() == 0
    assert 0.1 < batch.images[1, :, :40, :40].mean() < 0.9


def test_targets_are_the_records_scaled_and_mirrored(train: CocoDataset) -> None:
    record = train.images[3]
    target = plain(train, PLAN)[1].targets[1]
    mirrored = record.boxes * 40 / 64
    mirrored[:, [0, 2]] = 40 - mirrored[:, [2, 0]]
    torch.testing.assert_close(target["boxes"], torch.tensor(mirrored))
    assert target["labels"].tolist() == record.labels.tolist()


def test_the_cache_changes_no_batch(train: CocoDataset) -> None:
    with BatchLoader(train, cache_mb=1) as loader:
        for _ in range(3):
            assert_same(loader.batches(PLAN), plain(train, PLAN))


def test_a_cached_image_is_not_read_again(train: CocoDataset, tmp_path: Path) -> None:
    """The file is gone, so the second epoch can only come from the cache."""
    copy = tmp_path / "a.jpg"
    copy.write_bytes(train.images[0].path.read_bytes())
    dataset = replace(train, images=(replace(train.images[0], path=copy),))
    with BatchLoader(dataset, cache_mb=1) as loader:
        first = list(loader.batches([[Sample(0, SMALL)]]))
        copy.unlink()
        assert_same(loader.batches([[Sample(0, SMALL)]]), first)
        with pytest.raises(DataError, match=r"a\.jpg"):
            list(loader.batches([[Sample(0, LARGE)]]))


@pytest.mark.slow
def test_batches_are_the_same_for_any_number_of_workers(train: CocoDataset, tmp_path: Path) -> None:
    """One loader for several epochs: whole, left in the middle, with another plan, and with a broken file."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    dataset = replace(train, images=(*train.images, replace(train.images[0], path=broken)))
    with BatchLoader(dataset, workers=2, cache_mb=1) as loader:
        assert_same(loader.batches(PLAN), plain(train, PLAN))
        assert next(loader.batches(PLAN)).ids == plain(train, PLAN)[0].ids
        assert_same(loader.batches(OTHER), plain(train, OTHER))
        with pytest.raises(DataError, match=r"^broken\.jpg: is not an image of a known format"):
            list(loader.batches([[Sample(len(train.images), SMALL)]]))
        assert_same(loader.batches(PLAN), plain(train, PLAN))
    assert multiprocessing.active_children() == []


def test_an_empty_plan_has_no_batch_and_an_empty_batch_is_refused(train: CocoDataset) -> None:
    assert plain(train, []) == []
    with pytest.raises(ValueError, match="one sample at least"):
        plain(train, [[Sample(0, SMALL)], []])


@pytest.mark.parametrize(("workers", "cache_mb"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(train: CocoDataset, workers: int, cache_mb: int) -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        BatchLoader(train, workers=workers, cache_mb=cache_mb)


def test_a_batch_moves_with_its_targets(train: CocoDataset) -> None:
    batch = plain(train, PLAN)[0].to("meta")
    tensors = [batch.images, *(value for target in batch.targets for value in target.values())]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_padding_is_zero_right_and_below_and_to_32() -> None:
    padded = pad_together([torch.ones(3, 33, 10), torch.ones(3, 5, 40)])
    assert padded.shape == (2, 3, 64, 64)
    assert padded.sum(dim=(1, 2, 3)).tolist() == [3 * 33 * 10, 3 * 5 * 40]


def test_the_cache_keeps_the_latest_within_its_bytes() -> None:
    cache = ImageCache(250)
    images = [torch.zeros(100, dtype=torch.uint8) for _ in range(3)]
    cache.put((0, SMALL), images[0])
    cache.put((1, SMALL), images[1])
    assert cache.get((0, SMALL)) is images[0]
    cache.put((2, SMALL), images[2])
    assert [cache.get((key, SMALL)) is not None for key in range(3)] == [True, False, True]
    cache.put((3, SMALL), torch.zeros(251, dtype=torch.uint8))
    assert (cache.bytes, cache.get((3, SMALL))) == (200, None)
