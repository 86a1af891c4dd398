"""Records of detectors that were trained on after a search: one sealed file each, beside the weights."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jdn_core.errors import StorageError
from jdn_core.faults import Point, faultpoint
from jdn_core.search.held_out import Difference
from jdn_core.search.pairs import Evaluation, Measurement
from jdn_core.search.records import hashes_of, read_sealed
from jdn_core.space.architecture import Resolution
from jdn_core.space.teachers import SubnetSpec
from jdn_core.storage import durable
from jdn_core.storage.canonical import content_key
from jdn_core.storage.schemas import require_schema

SCHEMA = 1  # of finetuning.json
RECORD_FILE = "finetuning.json"
BEFORE = "before"  # what a detector that was trained on is compared with


@dataclass(frozen=True)
class FineTuning:
    """Everything that decides a fine-tuning, so that its key names the result before it exists.

    Attributes:
        search, seed: of the search.
        start: what is trained on, in words: ``pair 7``, ``winner``, ``control longer``.
        contender: name of what stood beside the winner; none for a pair as it is.
        pair: key of the pair whose teacher it had last; none where it had none.
        weights: SHA-256 of the weights that it is compared with.
        resolution: at which it is compared: what the score had chosen.
        epochs: of the training, >= 1.
        teacher: the subnet that distils; none: it learns from the photos alone.
    """

    search: str
    seed: int
    start: str
    contender: str | None
    pair: str | None
    weights: str
    resolution: Resolution
    epochs: int
    teacher: SubnetSpec | None

    @cached_property
    def key(self) -> str:
        """SHA-256 of all of it."""
        return content_key(self.to_json())

    @property
    def name(self) -> str:
        """Returns the name of its folder."""
        alone = "" if self.teacher else "-alone"
        return f"{self.start.replace(' ', '-')}-{self.epochs}-epochs{alone}-{self.key[:8]}"

    def to_json(self) -> dict[str, Any]:
        return {
            "search": self.search,
            "seed": self.seed,
            "start": self.start,
            "contender": self.contender,
            "pair": self.pair,
            "weights": self.weights,
            "resolution": str(self.resolution),
            "epochs": self.epochs,
            "teacher": None if self.teacher is None else self.teacher.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FineTuning:
        teacher = None if data["teacher"] is None else SubnetSpec.from_json(data["teacher"])
        return cls(**{**data, "resolution": Resolution.parse(data["resolution"]), "teacher": teacher})


@dataclass(frozen=True)
class HeldOutChange:
    """What photos that no choice was made on say of a detector before and after.

    Attributes:
        images, boxes: how many there are.
        before, after: AP at the resolution of both.
        difference: of the later to the earlier.
    """

    images: int
    boxes: int
    before: float
    after: float
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "difference": self.difference.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HeldOutChange:
        return cls(**{**data, "difference": Difference.from_json(data["difference"])})


@dataclass(frozen=True)
class FineTuned:
    """An immutable record of a fine-tuning.

    Attributes:
        tuning: what was asked for.
        before: on the validation split.
        evaluation: afterwards, without prunings, for nothing is proposed from it.
        held_out: none where the settings hold no photos out.
        files: name of every other file of the record's folder -> SHA-256.
    """

    tuning: FineTuning
    before: Measurement
    evaluation: Evaluation
    held_out: HeldOutChange | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def after(self) -> Measurement:
        """Returns what was measured on the validation split, at the resolution of before."""
        return at(self.evaluation, self.tuning.resolution)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "tuning": self.tuning.to_json(),
            "before": self.before.to_json(),
            "evaluation": self.evaluation.to_json(),
            "held_out": None if self.held_out is None else self.held_out.to_json(),
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FineTuned:
        """Raises FormatError for another schema, and ValueError, KeyError or TypeError for broken data."""
        require_schema(data, SCHEMA, RECORD_FILE)
        return cls(
            tuning=FineTuning.from_json(data["tuning"]),
            before=Measurement.from_json(data["before"]),
            evaluation=Evaluation.from_json(data["evaluation"]),
            held_out=None if data["held_out"] is None else HeldOutChange.from_json(data["held_out"]),
            files=data["files"],
        )


def at(evaluation: Evaluation, resolution: Resolution) -> Measurement:
    """Returns what was measured at a resolution; raises StopIteration where nothing was."""
    return next(each for each in evaluation.measurements if each.resolution == resolution)


def read(folder: Path, tuning: FineTuning) -> FineTuned | None:
    """Returns the record of exactly this fine-tuning; none where there is no whole one."""
    try:
        found = read_sealed(folder / RECORD_FILE, FineTuned.from_json)
    except (FileNotFoundError, StorageError):
        return None
    return found if found.tuning == tuning else None


def all_in(folder: Path) -> dict[Path, FineTuned]:
    """Returns every whole record by its folder, those being below ``folder``."""
    found = {}
    for file in sorted(folder.glob(f"[!.]*/{RECORD_FILE}")):
        with contextlib.suppress(StorageError):
            found[file.parent] = read_sealed(file, FineTuned.from_json)
    return found


def commit(record: FineTuned, staged: Path, folder: Path) -> FineTuned:
    """Makes a staged folder the record's.

    Raises:
        StorageError: the disk is full or broken; nothing was committed.
    """
    record = replace(record, files=hashes_of(staged))
    durable.write_json(staged / RECORD_FILE, record.to_json(), indent=None, seal=True)
    faultpoint(Point.FINETUNE_RECORD)
    if read(folder, record.tuning) is None:
        shutil.rmtree(folder, ignore_errors=True)  # damaged: what it was of can be trained again
    durable.commit_folder(staged, folder)
    faultpoint(Point.FINETUNE_SAVED)
    return read(folder, record.tuning) or record  # read back: JSON makes lists of tuples
