"""Small datasets that trainings rarely meet: three photos, one class, tiny, huge, wide, many classes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from jdn_core.data.coco.writing import NewBox, NewImage, new_dataset, write_split
from jdn_core.data.layouts import Split


@dataclass(frozen=True)
class Kind:
    """Photos of one kind.

    Attributes:
        train, val: how many.
        size: (width, height) in pixels.
        sides: least and largest side of a box, in pixels.
        boxes: in a photo.
        classes: of boxes, in turn.
    """

    train: int = 8
    val: int = 4
    size: tuple[int, int] = (96, 72)
    sides: tuple[int, int] = (16, 40)
    boxes: int = 3
    classes: int = 2


KINDS = {
    "three_photos": Kind(train=2, val=1),
    "one_photo_each": Kind(train=1, val=1),
    "one_class": Kind(classes=1),
    "300_classes": Kind(train=10, boxes=40, sides=(8, 12), classes=300),
    "tiny_objects": Kind(size=(320, 240), sides=(4, 8), boxes=12),
    "one_huge_class": Kind(sides=(64, 72), boxes=1, classes=1),
    "panoramas": Kind(size=(512, 128), sides=(12, 60)),
    "portraits": Kind(size=(96, 224), sides=(12, 60)),
}


def draw(kind: Kind, folder: Path, *, seed: int = 0) -> Path:
    """Draws a dataset's folder with train and val; returns it."""
    rng = np.random.default_rng(seed)
    names = [f"class {number}" for number in range(kind.classes)]
    with new_dataset(folder) as staged:
        splits: tuple[tuple[Split, int], ...] = (("train", kind.train), ("val", kind.val))
        for split, count in splits:
            write_split(staged, split, _photos(kind, split, count, rng), categories=names)
    return folder


def _photos(kind: Kind, split: Split, count: int, rng: np.random.Generator) -> Iterator[NewImage]:
    width, height = kind.size
    for number in range(count):
        pixels = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
        boxes = []
        for place in range(kind.boxes):
            wide, high = (
                min(side, int(rng.integers(kind.sides[0], kind.sides[1] + 1))) for side in kind.size
            )
            x, y = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - high + 1))
            label = (number * kind.boxes + place) % kind.classes
            pixels[y : y + high, x : x + wide] = (label * 37 % 256, label * 101 % 256, 255 - label % 256)
            boxes.append(NewBox(label + 1, [x, y, wide, high], float(wide * high)))
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        yield NewImage(f"{split}-{number}.png", file.getvalue(), kind.size, boxes)
