"""What a dataset is like, as far as settings depend on it: sizes of photos and boxes, classes, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.errors import DataError, Problem

_MOST_BOXES = 50_000  # drawn evenly; quantiles of more are the same


@dataclass(frozen=True, eq=False)
class Survey:
    """A dataset's training and validation photos in numbers.

    Attributes:
        train, val: how many photos.
        boxes: of the training photos.
        classes: names, by label.
        sizes: (width, height) of every training photo in pixels, int64 [N, 2].
        corners: x1, y1, x2, y2 of the training boxes in pixels, float64 [B, 4], B >= 1; a sample of many.
        photo: position in ``sizes`` of each box's photo, int64 [B].
        per_class: training boxes of each class.
        crowded: boxes of the photo that has the most.
    """

    train: int
    val: int
    boxes: int
    classes: tuple[str, ...]
    sizes: np.ndarray
    corners: np.ndarray
    photo: np.ndarray
    per_class: tuple[int, ...]
    crowded: int

    @property
    def photo_size(self) -> tuple[int, int]:
        """Returns the median longer and shorter side of the photos, in pixels."""
        longer, shorter = np.median(np.sort(self.sizes, axis=1)[:, ::-1], axis=0)
        return round(float(longer)), round(float(shorter))

    @property
    def box_sides(self) -> np.ndarray:
        """Returns the square root of each box's area, in pixels, float64 [B]."""
        width, height = (self.corners[:, 2:] - self.corners[:, :2]).T
        return np.asarray(np.sqrt(width * height))

    @property
    def is_landscape(self) -> bool:
        """Returns whether most photos are at least as wide as they are high."""
        return bool(np.mean(self.sizes[:, 0] >= self.sizes[:, 1]) >= 0.5)


def survey(train: CocoDataset, val: CocoDataset) -> Survey:
    """Counts and measures a dataset.

    Args:
        train: photos that are learned from.
        val: photos that are measured on.

    Raises:
        DataError: there is no box to learn from.
    """
    boxes = [image.boxes for image in train.images]
    corners = np.concatenate([np.zeros((0, 4)), *boxes])
    if not len(corners):
        file = train.annotation_file.name
        raise DataError.of([Problem(file, "annotations", "must hold one usable box at least", "none")])
    photo = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
    labels = np.concatenate([image.labels for image in train.images])
    step = -(-len(corners) // _MOST_BOXES)
    return Survey(
        train=len(train.images),
        val=len(val.images),
        boxes=len(corners),
        classes=tuple(category.name for category in train.categories),
        sizes=np.array([(image.width, image.height) for image in train.images]),
        corners=corners[::step].astype(float),
        photo=photo[::step],
        per_class=tuple(int((labels == rank).sum()) for rank in range(1, len(train.categories) + 1)),
        crowded=max(map(len, boxes)),
    )


def quantiles(values: np.ndarray, shares: Sequence[float] = (0.1, 0.5, 0.9)) -> tuple[float, ...]:
    """Returns the values below which these shares of all lie; ``values`` is [N], N >= 1."""
    return tuple(float(value) for value in np.quantile(values, shares))
