"""Batches from a plan: all randomness is in the plan, so that workers and caches cannot change a batch."""

from __future__ import annotations

import multiprocessing
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from jdn_core.data.coco.dataset import CocoDataset, read_image
from jdn_core.data.transforms import finish, resize
from jdn_core.errors import UserError
from jdn_core.space.architecture import Resolution

SIZE_DIVISOR = 32  # the coarsest backbone stage; every pyramid level then halves without a remainder


@dataclass(frozen=True)
class Sample:
    """One image of a batch: its position in ``dataset.images``, its frame, and whether it is mirrored."""

    image: int
    resolution: Resolution
    flip: bool = False


Plan = Sequence[Sequence[Sample]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one training step with their targets.

    Attributes:
        images: float32 [B, 3, H, W] in 0..1, zeros right of and below the real content; H and W are multiples
            of 32.
        sizes: (height, width) of the real content.
        targets: per image ``boxes``, float32 [N, 4] as x1, y1, x2, y2 in pixels of the content, and
            ``labels``, int64 [N] in 1..K; N may be 0.
        ids: the dataset's image ids.
        original_sizes: (height, width) of the upright image files.
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    targets: list[dict[str, Tensor]]
    ids: list[int]
    original_sizes: list[tuple[int, int]]

    def to(self, device: torch.device | str) -> Batch:
        """Returns the same batch with its tensors on a device."""
        targets = [{name: value.to(device) for name, value in target.items()} for target in self.targets]
        return replace(self, images=self.images.to(device), targets=targets)


class BatchLoader:
    """Makes batches of a dataset, epoch after epoch, and keeps its cache and its workers between them.

    Args:
        dataset: the images.
        workers: processes that decode; 0 decodes here. They are forked from a server process of their own,
            because a fork inside a Prefect task breaks.
        cache_mb: memory for decoded and resized images, in MiB, shared out evenly among the workers; 0 keeps
            none.

    Use it as a context manager or call ``close``.
    """

    def __init__(self, dataset: CocoDataset, *, workers: int = 0, cache_mb: int = 0) -> None:
        if workers < 0 or cache_mb < 0:
            raise ValueError(f"workers and cache_mb must be >= 0, got {workers} and {cache_mb}")
        self._reader = _Reader(dataset, (cache_mb << 20) // max(1, workers))
        self._plan = _PlanSampler()
        self._loader: DataLoader[Batch | UserError] | None = None
        if workers:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([__name__])  # torch is imported once and not by every worker
            self._loader = DataLoader(
                self._reader,
                batch_sampler=self._plan,
                num_workers=workers,
                collate_fn=_as_it_is,
                multiprocessing_context=context,
                persistent_workers=True,
            )

    @property
    def dataset(self) -> CocoDataset:
        """Returns the images that plans index."""
        return self._reader.dataset

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields one batch for every inner sequence of the plan, in its order; one plan at a time.

        Raises:
            DataError: an image cannot be decoded.
            ValueError: an inner sequence is empty.
        """
        if not all(plan):
            raise ValueError("a batch needs one sample at least, got an empty one in the plan")
        if self._loader is None:
            for samples in plan:
                yield self._reader.read(samples)
            return
        self._plan.plan = plan
        for batch in self._loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def close(self) -> None:
        """Ends the workers and forgets the cache."""
        self._loader = None
        self._reader.cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class ImageCache:
    """The most recently used uint8 images that fit a number of bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.bytes = 0
        self._images: OrderedDict[tuple[int, Resolution], Tensor] = OrderedDict()

    def get(self, key: tuple[int, Resolution]) -> Tensor | None:
        image = self._images.get(key)
        if image is not None:
            self._images.move_to_end(key)
        return image

    def put(self, key: tuple[int, Resolution], image: Tensor) -> None:
        """Keeps an image, dropping the least recently used ones; an image over the capacity is not kept."""
        if image.nbytes > self.capacity:
            return
        self._images[key] = image
        self.bytes += image.nbytes
        while self.bytes > self.capacity:
            self.bytes -= self._images.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        self._images.clear()
        self.bytes = 0


class _Reader(Dataset["Batch | UserError"]):
    """What runs in a worker: a list of samples in, a batch out."""

    def __init__(self, dataset: CocoDataset, cache_bytes: int) -> None:
        self.dataset = dataset
        self.cache = ImageCache(cache_bytes)

    def __getitems__(self, samples: Sequence[Sample]) -> Batch | UserError:
        try:
            return self.read(samples)
        except UserError as error:  # as a value, or torch would wrap it into a traceback's text
            return error

    def read(self, samples: Sequence[Sample]) -> Batch:
        records = [self.dataset.images[sample.image] for sample in samples]
        images, targets = [], []
        for sample, record in zip(samples, records, strict=True):
            original = (record.height, record.width)
            image, boxes = finish(self._resized(sample), record.boxes, original=original, flip=sample.flip)
            images.append(image)
            targets.append({"boxes": boxes, "labels": torch.tensor(record.labels)})
        return Batch(
            images=pad_together(images),
            sizes=[(image.shape[1], image.shape[2]) for image in images],
            targets=targets,
            ids=[record.id for record in records],
            original_sizes=[(record.height, record.width) for record in records],
        )

    def _resized(self, sample: Sample) -> Tensor:
        key = (sample.image, sample.resolution)
        image = self.cache.get(key)
        if image is None:
            image = resize(read_image(self.dataset.images[sample.image]), sample.resolution)
            self.cache.put(key, image)
        return image


def pad_together(images: Sequence[Tensor]) -> Tensor:
    """Pads images, float [3, h, w] each, to one [B, 3, H, W], zeros right and below, H, W multiples of 32."""
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    rounded = [-(-side // SIZE_DIVISOR) * SIZE_DIVISOR for side in (height, width)]
    # Detector.normalise makes the padding zero again, so the value here only has to be finite.
    padded = torch.zeros(len(images), images[0].shape[0], *rounded)
    for row, image in zip(padded, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return padded


class _PlanSampler(Sampler[list[Sample]]):
    """The plan of the epoch at hand, as DataLoader's workers ask for it."""

    def __init__(self) -> None:
        self.plan: Plan = ()

    def __iter__(self) -> Iterator[list[Sample]]:
        return map(list, self.plan)

    def __len__(self) -> int:
        return len(self.plan)


def _as_it_is(batch: Any) -> Any:
    return batch
