"""What a dataset of another format says: pictures with named boxes, and all that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from jdn_core.data import pictures
from jdn_core.data.coco.document import fault
from jdn_core.data.layouts import Split
from jdn_core.errors import DataError, Problem

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
_MOST_TEXT = 60

Place = tuple[str, str]  # a file below the dataset's folder, and where in it


@dataclass(frozen=True)
class Label:
    """One box: its category's name, [x, y, width, height] in pixels, and whether it is crowd."""

    category: str
    bbox: list[float]
    crowd: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture with its boxes: name below its folder, file, and upright size in pixels."""

    name: str
    path: Path
    size: tuple[int, int]
    labels: tuple[Label, ...]


Splits = Mapping[Split, Sequence[Picture]]


@dataclass(eq=False)
class Findings:
    """What a reader met on its way through a dataset.

    Attributes:
        drop_bad_boxes: leave unusable boxes out, counted, instead of noting a problem.
        dropped: boxes that were left out.
        problems: every rule that does not hold.
    """

    drop_bad_boxes: bool = False
    dropped: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add(self, place: Place, what: str, value: object = "", remedy: str = "") -> None:
        """Notes one problem, with as much of the value as fits a line."""
        text = str(value)
        if len(text) > _MOST_TEXT:
            text = f"{text[: _MOST_TEXT - 3]}..."
        self.problems.append(Problem(*place, what, text, remedy))

    def measure(self, name: str, path: Path) -> tuple[int, int] | None:
        """(width, height) of the upright picture after reading it to its end; None where it is damaged."""
        [size] = pictures.measure([path], decode=True)
        if isinstance(size, DataError):
            self.problems += [replace(problem, file=name) for problem in size.problems]
            return None
        return size

    def usable(self, place: Place, box: list[float], size: tuple[int, int]) -> bool:
        """Whether a box [x, y, width, height] can be used in a picture of (width, height) pixels."""
        found = fault(box, size)
        if found and self.drop_bad_boxes:
            self.dropped += 1
        elif found:
            self.add(place, *found, "correct the box or pass --drop-bad-boxes")
        return not found


def draw_val(found: Sequence[Picture], *, seed: int) -> Splits:
    """Train and val in the order given, a fifth for val; the same seed draws the same pictures."""
    drawn = np.random.default_rng(seed).permutation(len(found))[: max(1, round(len(found) / 5))]
    val = set(drawn.tolist())
    return {
        "train": [picture for index, picture in enumerate(found) if index not in val],
        "val": [picture for index, picture in enumerate(found) if index in val],
    }
