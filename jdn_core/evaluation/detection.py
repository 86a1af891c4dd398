"""A detector on a whole dataset: detections in the photos' own pixels, and the numbers they earn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jdn_core.data.coco.dataset import ground_truth
from jdn_core.data.loading import Batch, BatchLoader, pad_together
from jdn_core.data.transforms import prepare
from jdn_core.evaluation.average_precision import CocoNumbers, matched, numbers_of, to_results
from jdn_core.evaluation.bootstrap import Matches, matches
from jdn_core.processes import stopping
from jdn_core.processes.progress import report
from jdn_core.space.architecture import Resolution
from jdn_core.training.resolutions import FrameOf, evaluation_plan, framed

Detections = list[dict[str, torch.Tensor]]
EVALUATION_BATCH = 8
PREDICTION_BATCH = 4


class Detects(Protocol):
    """What can be evaluated: a ``Detector``, or an exported file in its runtime; see ``Detector.detect``."""

    def detect(self, images: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> Detections: ...

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...

    def eval(self) -> Self: ...


def device_of(detector: Detects) -> torch.device:
    """Returns where a detector's parameters are; one without any, out of a file, takes images on the CPU."""
    first = next(iter(detector.parameters()), None)
    return torch.device("cpu") if first is None else first.device


def detect(detector: Detects, batch: Batch) -> Detections:
    """Detects in a batch, in pixels of the original photos; see ``Detector.detect`` for the shapes."""
    batch = batch.to(device_of(detector))
    found = detector.detect(batch.images, batch.sizes)
    for output, (height, width), (original_height, original_width) in zip(
        found, batch.sizes, batch.original_sizes, strict=True
    ):
        scale = output["boxes"].new_tensor([original_width / width, original_height / height]).repeat(2)
        output["boxes"] = output["boxes"] * scale
    return found


def detect_in(detector: Detects, pictures: Sequence[np.ndarray], resolution: Resolution) -> Detections:
    """Detects in pictures that are in memory, in their own pixels, bit for bit as ``jdn predict``.

    Args:
        detector: in eval mode.
        pictures: uint8 [H, W, 3] each, RGB; none at all is an empty answer.
        resolution: the frame to detect in.
    """
    found: Detections = []
    for start in range(0, len(pictures), PREDICTION_BATCH):
        stopping.check()
        found += detect(detector, _batch(pictures[start : start + PREDICTION_BATCH], resolution))
    return found


def evaluate(
    detector: Detects,
    loader: BatchLoader,
    resolutions: Sequence[Resolution],
    *,
    frame_of: FrameOf | None = None,
) -> dict[Resolution, CocoNumbers]:
    """Computes the twelve numbers at every resolution, pycocotools' own, unrounded (paper, section 4.1).

    The detector is put into eval mode and left there. A stop is possible between two batches. ``frame_of``
    is for ``framed``.
    """
    truth = ground_truth(loader.dataset)
    return {
        frame: numbers_of(_matched(detector, loader, frame, truth, frame_of=frame_of))
        for frame in resolutions
    }


def evaluate_with_matches(
    detector: Detects, loader: BatchLoader, resolution: Resolution
) -> tuple[CocoNumbers, Matches]:
    """Does as ``evaluate`` at one resolution, and keeps the matches, for intervals (``bootstrap``)."""
    found = _matched(detector, loader, resolution, ground_truth(loader.dataset))
    return numbers_of(found), matches(found)


def _matched(
    detector: Detects,
    loader: BatchLoader,
    resolution: Resolution,
    truth: COCO,
    *,
    frame_of: FrameOf | None = None,
) -> COCOeval:
    """Detects in every image of a dataset and matches the detections to its ground truth."""
    detector.eval()
    dataset = loader.dataset
    ids = [image.id for image in dataset.images]
    results: list[dict[str, Any]] = []
    plan = evaluation_plan(len(ids), batch=EVALUATION_BATCH, resolution=resolution)
    if frame_of is not None:
        plan = framed(plan, dataset.images, frame_of)
    for number, batch in enumerate(loader.batches(plan), start=1):
        stopping.check()
        results += to_results(detect(detector, batch), batch.ids, dataset.categories)
        report(f"evaluate {resolution}", number, len(plan))
    return matched(truth, results, image_ids=ids)


def _batch(pictures: Sequence[np.ndarray], resolution: Resolution) -> Batch:
    nothing = np.zeros((0, 4), np.float32)
    images = [prepare(pixels, nothing, resolution=resolution, flip=False)[0] for pixels in pictures]
    return Batch(
        images=pad_together(images),
        sizes=[(image.shape[1], image.shape[2]) for image in images],
        targets=[],
        ids=list(range(len(images))),
        original_sizes=[(pixels.shape[0], pixels.shape[1]) for pixels in pictures],
    )
