"""Pictures of detections: the same photo under truth, base and student, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.v2 import functional as F
from torchvision.utils import draw_bounding_boxes

from jdn_core.data.coco.dataset import CocoDataset, ImageRecord, read_image
from jdn_core.data.loading import BatchLoader
from jdn_core.detector.build import Detector
from jdn_core.errors import StorageError
from jdn_core.evaluation.detection import detect
from jdn_core.space.architecture import Resolution
from jdn_core.training.resolutions import evaluation_plan

# Okabe and Ito without black, which would vanish in dark photos.
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_DARK = "#0072b2"
_BANNER = 22
_GAP = 6


_BATCH = 4
_COLOURS_KEPT = 192


@dataclass(frozen=True, eq=False)
class Panel:
    """One look at a photo.

    Attributes:
        title: what is seen, such as ``truth``.
        boxes: [N, 4], xyxy in pixels of the photo; N may be 0.
        labels: N class numbers, 1..K.
        scores: N numbers in 0..1, or None for the truth.
    """

    title: str
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None

    def confident(self, *, least: float = 0.5, most: int = 40) -> Panel:
        """Returns the panel with its surest boxes alone, which are what the detector would report."""
        if self.scores is None:
            return self
        order = np.argsort(-self.scores, kind="stable")
        kept = order[self.scores[order] >= least][:most]
        return Panel(self.title, self.boxes[kept], self.labels[kept], self.scores[kept])


def write_detections(detector: Detector, dataset: CocoDataset, images: int, path: Path) -> None:
    """Writes a PNG with some photos of a dataset, under truth and detections: a pair's ``detections.png``.

    Raises:
        StorageError: the file cannot be written.
    """
    few = some_of(dataset, images)
    found = look(detector, few, title="student", resolution=detector.spec.resolution)
    names = [category.name for category in dataset.categories]
    rows = [
        draw(read_image(photo), [truth(photo), panel.confident()], names=names, width=320)
        for photo, panel in zip(few.images, found, strict=True)
    ]
    save(stack(rows).quantize(_COLOURS_KEPT), path)


def save(picture: Image.Image, path: Path) -> Path:
    """Writes a picture in the format of its name; raises StorageError where that fails."""
    try:
        picture.save(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def some_of(dataset: CocoDataset, images: int) -> CocoDataset:
    """Returns the dataset with ``images`` of its photos at the most, spread evenly over it."""
    step = max(1, len(dataset.images) // images) if images else 1  # neighbours are often of one scene
    return replace(dataset, images=dataset.images[::step][:images])


def look(detector: Detector, dataset: CocoDataset, *, title: str, resolution: Resolution) -> list[Panel]:
    """Detects on every photo; the detector is put into eval mode and left there."""
    detector.eval()
    loader = BatchLoader(dataset, workers=0, cache_mb=0)
    plan = evaluation_plan(len(dataset.images), batch=_BATCH, resolution=resolution)
    outputs = (output for batch in loader.batches(plan) for output in detect(detector, batch))
    return [
        Panel(title, *(output[key].numpy(force=True) for key in ("boxes", "labels", "scores")))
        for output in outputs
    ]


def truth(photo: ImageRecord) -> Panel:
    """Returns the boxes that were annotated."""
    return Panel("truth", photo.boxes, photo.labels)


def draw(
    photo: NDArray[np.uint8], panels: Sequence[Panel], *, names: Sequence[str], width: int = 400
) -> Image.Image:
    """Draws one photo, once per panel, from left to right.

    Args:
        photo: [H, W, 3].
        panels: at least one.
        names: class names by label, label 1 first.
        width: of one panel in pixels; the height follows.
    """
    scale = width / photo.shape[1]
    height = max(1, round(photo.shape[0] * scale))
    pixels = torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)
    small = F.resize(pixels, [height, width], antialias=True)
    sheet = Image.new("RGB", (len(panels) * (width + _GAP) - _GAP, height + _BANNER), "white")
    pen = ImageDraw.Draw(sheet)
    for position, panel in enumerate(panels):
        left = position * (width + _GAP)
        pen.text((left + 2, 3), panel.title, fill="#20242b", font=ImageFont.load_default(13))
        sheet.paste(Image.fromarray(_boxed(small, panel, scale, names)), (left, _BANNER))
    return sheet


def stack(rows: Sequence[Image.Image]) -> Image.Image:
    """Puts pictures below each other on white; an empty sheet of one pixel for none."""
    if not rows:
        return Image.new("RGB", (1, 1), "white")
    sheet = Image.new(
        "RGB", (max(row.width for row in rows), sum(row.height + _GAP for row in rows) - _GAP), "white"
    )
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP
    return sheet


def _boxed(photo: torch.Tensor, panel: Panel, scale: float, names: Sequence[str]) -> NDArray[np.uint8]:
    if len(panel.boxes):
        boxes = torch.from_numpy(np.asarray(panel.boxes, np.float32)) * scale
        colours = [_COLOURS[(label - 1) % len(_COLOURS)] for label in panel.labels]
        texts = [names[label - 1] for label in panel.labels]
        if panel.scores is not None:
            texts = [f"{text} {score:.2f}" for text, score in zip(texts, panel.scores, strict=True)]
        # Labels in the box's colour would be unreadable on most photos.
        inks = ["white" if colour == _DARK else "black" for colour in colours]
        photo = draw_bounding_boxes(
            photo, boxes, texts, colours, width=2, label_colors=inks, fill_labels=True
        )
    pixels: NDArray[np.uint8] = photo.permute(1, 2, 0).numpy()
    return pixels
