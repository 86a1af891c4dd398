"""An exported file against the detector that it was made from, on the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from jdn_core.data.coco.dataset import ImageRecord, read_image
from jdn_core.data.loading import pad_together
from jdn_core.data.transforms import prepare
from jdn_core.detector.build import Detector
from jdn_core.export.runtimes import FileDetector
from jdn_core.processes import stopping
from jdn_core.processes.progress import report

PICTURES = 20
BATCH = 4
SAME_BOX, SAME_SCORE = 0.01, 1e-4  # in pixels of the input; what float32 must keep
LEAST_IOU = 0.5  # of two boxes of a class that are taken for the same


@dataclass(frozen=True)
class Parity:
    """How far a file's detections are from the detector's.

    Attributes:
        images: pictures that were looked at.
        boxes: of the detector in all of them.
        file_boxes: of the file.
        matched: pairs of one class that overlap by ``LEAST_IOU``, each box in one pair at the most.
        max_box_difference: largest distance of two corners' coordinates in pixels of the input.
        max_score_difference: of a pair.
    """

    images: int
    boxes: int
    file_boxes: int
    matched: int
    max_box_difference: float
    max_score_difference: float

    @property
    def is_same(self) -> bool:
        """Whether the file finds the same boxes, up to float32's rounding."""
        return (
            self.boxes == self.file_boxes == self.matched
            and self.max_box_difference <= SAME_BOX
            and self.max_score_difference <= SAME_SCORE
        )


def pictures(records: Sequence[ImageRecord], count: int = PICTURES) -> list[np.ndarray]:
    """Reads pictures, evenly spread over a dataset; every second one is cut to another aspect ratio.

    A landscape picture is cut to 3:4 out of its middle, a portrait one to 4:3.

    Args:
        records: of a dataset, one at least.
        count: pictures at the most.

    Returns:
        uint8 [H, W, 3] each, RGB.
    """
    places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    read = [read_image(records[place]) for place in places]
    return [_cut(pixels) if number % 2 else pixels for number, pixels in enumerate(read)]


def batches(
    file: FileDetector, photos: Sequence[np.ndarray], size: int = BATCH
) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
    """Yields images [B, 3, H, W] and sizes as the file takes them, its own frame filled up with zeros."""
    nothing = np.zeros((0, 4), np.float32)
    for start in range(0, len(photos), size):
        images = []
        for pixels in photos[start : start + size]:
            height, width = pixels.shape[:2]
            frame = file.label.frame_of(width, height, file.spec.resolution)
            images.append(prepare(pixels, nothing, resolution=frame, flip=False)[0])
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        yield file.filled_up(pad_together(images)), sizes


def compare(detector: Detector, file: FileDetector, photos: Sequence[np.ndarray]) -> Parity:
    """Detects in the same images with both, in batches; a stop is possible between two of them.

    Args:
        detector: in eval mode, on the CPU.
        file: made from it.
        photos: uint8 [H, W, 3] each, one at least.
    """
    found = Parity(0, 0, 0, 0, 0.0, 0.0)
    for images, sizes in batches(file, photos):
        stopping.check()
        for wanted, got in zip(detector.detect(images, sizes), file.detect(images, sizes), strict=True):
            found = _with(found, wanted, got)
        report("parity", found.images, len(photos))
    return found


def _with(so_far: Parity, wanted: dict[str, Tensor], got: dict[str, Tensor]) -> Parity:
    pairs = _pairs(wanted, got)
    rows, others = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    distances = (wanted["boxes"][rows] - got["boxes"][others]).abs().flatten().tolist()
    scores = (wanted["scores"][rows] - got["scores"][others]).abs().tolist()
    return Parity(
        so_far.images + 1,
        so_far.boxes + len(wanted["boxes"]),
        so_far.file_boxes + len(got["boxes"]),
        so_far.matched + len(pairs),
        max([so_far.max_box_difference, *distances]),
        max([so_far.max_score_difference, *scores]),
    )


def _pairs(wanted: dict[str, Tensor], got: dict[str, Tensor]) -> list[tuple[int, int]]:
    """Pairs boxes of a class off, those first that overlap most."""
    overlap = box_iou(wanted["boxes"], got["boxes"])
    overlap = torch.where(wanted["labels"][:, None] == got["labels"], overlap, 0.0)
    pairs, taken = [], (set[int](), set[int]())
    for place in overlap.flatten().argsort(descending=True, stable=True).tolist():
        row, column = divmod(place, overlap.shape[1])
        if overlap[row, column] < LEAST_IOU:
            break
        if row not in taken[0] and column not in taken[1]:
            pairs.append((row, column))
            taken[0].add(row)
            taken[1].add(column)
    return pairs


def _cut(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    if width >= height:
        wide = max(1, height * 3 // 4)
        start = (width - wide) // 2
        return pixels[:, start : start + wide]
    high = max(1, width * 3 // 4)
    start = (height - high) // 2
    return pixels[start : start + high]
