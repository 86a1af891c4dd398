"""Detections that a person can look at: the same validation photos under the truth and any number of detectors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from PIL import Image

from jdn_core.data.coco import ImageRecord, read_image
from jdn_core.data.loading import BatchLoader, Sample
from jdn_core.detector.build import Detector
from jdn_core.evaluation.detection import detect
from jdn_core.reports.examples import Panel, draw, stack
from jdn_core.space.architecture import Resolution


def preview(
    detectors: Mapping[str, tuple[Detector, Resolution]], loader: BatchLoader, *, photos: int
) -> Image.Image:
    """A row for each of a few photos, spread evenly over the split: the truth, then every detector.

    Args:
        detectors: title -> detector in eval mode, and the frame that it looks through.
        loader: of the split.
        photos: how many, at the most; more are not there than the split has.
    """
    images = loader.dataset.images
    count = min(photos, len(images))
    names = [category.name for category in loader.dataset.categories]
    rows = []
    for place in (len(images) * i // count for i in range(count)):
        record = images[place]
        panels = [_truth(record)]
        for title, (detector, frame) in detectors.items():
            (batch,) = loader.batches([[Sample(place, frame)]])
            panels.append(_panel(f"{title} at {frame}", detect(detector, batch)[0]))
        rows.append(draw(read_image(record), panels, names=names))
    return stack(rows)


def _truth(record: ImageRecord) -> Panel:
    return Panel("truth", record.boxes, record.labels)


def _panel(title: str, found: Mapping[str, torch.Tensor]) -> Panel:
    boxes, labels, scores = (found[name].cpu().numpy() for name in ("boxes", "labels", "scores"))
    return Panel(title, boxes, labels, scores).confident()
