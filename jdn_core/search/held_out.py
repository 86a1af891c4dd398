"""What was found on the photos that a search never sees: once, at its end; one sealed file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jdn_core.errors import StorageError
from jdn_core.search.pairs import Measurement
from jdn_core.storage import durable

SCHEMA = 1
FEW_BOXES = 200  # below, AP of two trainings that differ in their seed alone is points apart (ours)


@dataclass(frozen=True)
class Difference:
    """AP of the result minus that of ``against``, with the ends of its 95 % interval, if it has any."""

    against: str
    value: float
    interval: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        interval = None if self.interval is None else list(self.interval)
        return {"against": self.against, "value": self.value, "interval": interval}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Difference:
        interval = None if data["interval"] is None else (data["interval"][0], data["interval"][1])
        return cls(data["against"], data["value"], interval)


@dataclass(frozen=True)
class HeldOut:
    """What is known of the base, the winner and the controls on photos that no choice was made on.

    Attributes:
        key: of the detectors and frames that were measured.
        images, boxes: how many there are.
        without_boxes: names of the classes that no box is of; COCO's mean leaves them out.
        measured: name of a detector -> its measurement, at the frame that the search's own photos chose.
        base_at: the base at the result's frame.
        result: name of the best on the search's own photos.
        differences: of the result to others.
    """

    key: str
    images: int
    boxes: int
    without_boxes: tuple[str, ...]
    measured: Mapping[str, Measurement]
    base_at: Measurement
    result: str
    differences: tuple[Difference, ...]

    def ap(self, name: str) -> float | None:
        """Returns AP of a detector; none where there is no such detector."""
        found = self.measured.get(name)
        return None if found is None else found.ap

    @property
    def has_few_boxes(self) -> bool:
        return self.boxes < FEW_BOXES

    @property
    def difference(self) -> Difference:
        """Returns the one to show first: to the base trained as long, or to the base."""
        found = {each.against: each for each in self.differences}
        return found.get("longer") or found["base"]

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "images": self.images,
            "boxes": self.boxes,
            "without_boxes": list(self.without_boxes),
            "measured": {name: each.to_json() for name, each in self.measured.items()},
            "base_at": self.base_at.to_json(),
            "result": self.result,
            "differences": [each.to_json() for each in self.differences],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HeldOut:
        """Raises ValueError, KeyError or TypeError where the data is broken."""
        changes = {
            "without_boxes": tuple(data["without_boxes"]),
            "measured": {name: Measurement.from_json(each) for name, each in data["measured"].items()},
            "base_at": Measurement.from_json(data["base_at"]),
            "differences": tuple(map(Difference.from_json, data["differences"])),
        }
        return cls(**{**data, **changes})


def read(file: Path, *, key: str) -> HeldOut | None:
    """Returns what ``write`` wrote of these detectors; none where there is no such file, or a damaged one."""
    try:
        found = HeldOut.from_json(durable.read_json(file, schema=SCHEMA))
    except (FileNotFoundError, StorageError, AttributeError, ValueError, KeyError, TypeError):
        return None
    return found if found.key == key else None


def write(file: Path, found: HeldOut) -> None:
    """Raises StorageError where the disk is full or broken."""
    file.parent.mkdir(parents=True, exist_ok=True)
    durable.write_json(file, found.to_json(), schema=SCHEMA, seal=True)
