"""What a dataset of another format holds: pictures with named boxes, by split, and all that is wrong.

Every reader returns a ``Source``, so that the conversion need not know where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import NamedTuple, Protocol

import numpy as np

from jdn_core.data import pictures
from jdn_core.data.coco.document import fault
from jdn_core.data.layouts import Split
from jdn_core.errors import DataError, Problem, cut


class Location(NamedTuple):
    """Where something stands: a file below the dataset's folder, and the line or element inside it."""

    file: str
    where: str = ""


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


@dataclass(frozen=True)
class Source:
    """A dataset as it was read: names of the categories 1, 2, 3, ..., splits, what told them apart."""

    categories: Sequence[str]
    splits: Splits
    rule: str


@dataclass(eq=False)
class Findings:
    """What a reader met on its way through a dataset.

    Attributes:
        drop_bad_boxes: leave unusable boxes out, counted, instead of noting a problem.
        dropped: boxes that were left out.
        problems: every rule that does not hold.
        used: files below the dataset's folder that the reading needed.
        left_out: other files with the reason; those in neither are no part of the dataset.
        notes: facts worth knowing that break no rule.
    """

    drop_bad_boxes: bool = False
    dropped: int = 0
    problems: list[Problem] = field(default_factory=list)
    used: set[PurePath] = field(default_factory=set)
    left_out: dict[PurePath, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, location: Location, what: str, value: object = "", remedy: str = "") -> None:
        """Notes one problem, with as much of the value as fits a line."""
        self.problems.append(Problem(*location, what, cut(str(value)), remedy))

    def measure(self, name: str, path: Path) -> tuple[int, int] | None:
        """Returns (width, height) of the upright picture, read to its end; None if it is damaged."""
        [size] = pictures.measure([path], decode=True)
        if isinstance(size, DataError):
            self.problems += [replace(problem, file=name) for problem in size.problems]
            return None
        return size

    def usable(self, location: Location, box: list[float], size: tuple[int, int]) -> bool:
        """Returns whether a box [x, y, width, height] can be used in a picture of (width, height) pixels."""
        found = fault(box, size)
        if found and self.drop_bad_boxes:
            self.dropped += 1
        elif found:
            self.add(location, *found, "correct the box or pass --drop-bad-boxes")
        return not found


class Reader(Protocol):
    """A format, with the options that its reading depends on."""

    def read(self, src: Path, findings: Findings) -> Source:
        """Reads a whole dataset; what is wrong with it goes to ``findings``.

        Raises:
            InputMissing: a folder of the format is not there.
        """


# What folders, lists and keys call the splits.
SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def with_val(splits: Splits, *, seed: int, rule: str) -> tuple[Splits, str]:
    """Returns the splits, with val drawn from train where there is none, and the rule with that said.

    A fifth is drawn, each part in the order given; the seed decides.
    """
    if "val" in splits:
        return splits, rule
    found = splits["train"]
    drawn = np.random.default_rng(seed).permutation(len(found))[: max(1, round(len(found) / 5))]
    val = set(drawn.tolist())
    parts: dict[Split, Sequence[Picture]] = {
        "train": [picture for index, picture in enumerate(found) if index not in val],
        "val": [picture for index, picture in enumerate(found) if index in val],
    }
    others = {split: pictures for split, pictures in splits.items() if split != "train"}
    return parts | others, f"{rule}; val is a fifth of train, drawn by seed {seed}"
