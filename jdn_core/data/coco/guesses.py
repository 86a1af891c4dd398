"""What annotation files leave open, settled or doubted: boxes made of polygons, whole numbers, corners."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WHOLE = ("id", "image_id", "category_id", "width", "height", "iscrowd")
_FEW = 4  # boxes, fewer of which tell nothing


def with_whole_numbers(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a row whose whole numbers are int: some writers know no other number than 64.0."""
    found = {
        key: int(value)
        for key in _WHOLE
        if isinstance(value := row.get(key), float) and math.isfinite(value) and value.is_integer()
    }
    return {**row, **found} if found else row


def box_of_polygons(segmentation: object) -> list[float] | None:
    """Returns the extent [x, y, width, height] of polygons, a list of lists x, y, x, y, ... or one of them.

    None where it is something else, such as a mask in run lengths.
    """
    if not isinstance(segmentation, list) or not segmentation:
        return None
    rings = segmentation if all(isinstance(ring, list) for ring in segmentation) else [segmentation]
    for ring in rings:
        whole = len(ring) >= 6 and len(ring) % 2 == 0
        if not whole or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in ring):
            return None
    xs, ys = ([number for ring in rings for number in ring[side::2]] for side in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


@dataclass(eq=False)
class Overhang:
    """Counts boxes that reach outside their image, and those that would fit as x1, y1, x2, y2.

    Corners that are given where width and height are wanted are the most common slip of converters; every box
    then reaches from its left upper corner far beyond its object.
    """

    boxes: int = 0
    outside: int = 0
    as_corners: int = 0

    def count(self, box: list[float], size: tuple[int, int]) -> None:
        """Counts a box of four numbers in an image of (width, height) pixels."""
        x, y, width, height = box
        self.boxes += 1
        self.outside += x + width > size[0] + 1 or y + height > size[1] + 1
        self.as_corners += x < width <= size[0] + 1 and y < height <= size[1] + 1

    @property
    def is_suspicious(self) -> bool:
        """Returns whether most boxes overhang and all would fit as corners."""
        return self.boxes >= _FEW and self.outside * 2 > self.boxes and self.as_corners == self.boxes

    def __str__(self) -> str:
        rule = "bbox is [x, y, width, height]"
        return (
            f"{self.outside} of {self.boxes} boxes reach outside their image and all fit as corners; {rule}"
        )
