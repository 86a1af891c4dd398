"""The unit of the search: a student-teacher pair, what was measured of it, and the record kept of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.teachers import SubnetSpec
from jdn_core.storage.canonical import content_key
from jdn_core.storage.schemas import require_schema

SCHEMA = 1  # of pair.json
BASE_ACTION = "base"


@dataclass(frozen=True)
class Pair:
    """A proposal: everything that decides the evaluation, so that its key names the result before it exists.

    Attributes:
        search: name of the search.
        index: 0 is the base with the super-network; proposals count from 1.
        seed: of the search; every random stream of the pair is drawn from (seed, purpose, index, ...).
        parent: key of the pair whose trained student is inherited; none for the base.
        action: ``base``, the key of a student action, or the key of a teacher's mutation.
        student: the architecture after the action.
        teacher: the subnet that distils.
    """

    search: str
    index: int
    seed: int
    parent: str | None
    action: str
    student: DetectorSpec
    teacher: SubnetSpec

    @cached_property
    def key(self) -> str:
        """SHA-256 of (search, index, student, teacher, parent, action, seed): RELIABILITY, rule 1."""
        return content_key(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {
            "search": self.search,
            "index": self.index,
            "seed": self.seed,
            "parent": self.parent,
            "action": self.action,
            "student": self.student.to_json(),
            "teacher": self.teacher.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pair:
        student, teacher = DetectorSpec.from_json(data["student"]), SubnetSpec.from_json(data["teacher"])
        return cls(**{**data, "student": student, "teacher": teacher})


@dataclass(frozen=True)
class Measurement:
    """One student at one resolution.

    Attributes:
        resolution: the input frame.
        coco: the twelve numbers of pycocotools, unrounded, by the names of CLI.md (``AP`` ... ``ARl``); -1
            where there is nothing to measure.
        macs: multiply-accumulates of the whole detector at the exact frame.
    """

    resolution: Resolution
    coco: Mapping[str, float]
    macs: int

    @property
    def ap(self) -> float:
        return self.coco["AP"]

    def to_json(self) -> dict[str, Any]:
        return {"resolution": str(self.resolution), "coco": dict(self.coco), "macs": self.macs}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Raises ValueError, KeyError or TypeError where the data is broken."""
        return cls(Resolution.parse(data["resolution"]), data["coco"], data["macs"])


@dataclass(frozen=True)
class Timing:
    """What differs between two runs of the same pair.

    Attributes:
        latency_ms: median of one detection at each resolution.
        train_seconds: wall time of the fast evaluation's training.
        finished: seconds since the epoch.
        device, threads: where it was measured.
    """

    latency_ms: Mapping[str, float]
    train_seconds: float
    finished: float
    device: str
    threads: int

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "latency_ms": dict(self.latency_ms)}


@dataclass(frozen=True)
class Evaluation:
    """What a fast evaluation found.

    Attributes:
        measurements: one per resolution, smallest frame first.
        params: parameters of the student.
        losses: mean of every loss per epoch, oldest first.
        prunings: key of a weight-dependent action -> the backbone that it leads to from this student's
            weights, packed. They make proposals pure functions of the records; packed, because 10,000
            records are read at once, of which few become parents.
        weights: SHA-256 of ``weights.safetensors``.
        timing: clock readings.
        latency: milliseconds of the exported student by the name of a target. They are kept beside the
            record, for they may be measured later, and are no part of it (``search.latencies``).
    """

    measurements: tuple[Measurement, ...]
    params: int
    losses: Mapping[str, tuple[float, ...]]
    prunings: Mapping[str, str]
    weights: str
    timing: Timing
    latency: Mapping[str, float] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "measurements": [measurement.to_json() for measurement in self.measurements],
            "params": self.params,
            "losses": {name: list(values) for name, values in self.losses.items()},
            "prunings": dict(self.prunings),
            "weights": self.weights,
            "timing": self.timing.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        """Raises ValueError, KeyError or TypeError where the data is broken."""
        measurements = tuple(map(Measurement.from_json, data["measurements"]))
        losses = {name: tuple(values) for name, values in data["losses"].items()}
        timing = Timing(**data["timing"])
        return cls(**{**data, "measurements": measurements, "losses": losses, "timing": timing})


@dataclass(frozen=True)
class PairRecord:
    """An immutable record: a pair with its evaluation, or with the reason why there is none.

    Attributes:
        pair: the proposal.
        state: ``done`` or ``failed``.
        evaluation: present when done.
        reason: present when failed, such as ``nan: epoch 2 step 17 lr 0.01 last finite loss 3.2``.
        files: name of every other file of the record's folder -> SHA-256.
    """

    pair: Pair
    state: Literal["done", "failed"]
    evaluation: Evaluation | None = None
    reason: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state != ("failed" if self.evaluation is None else "done"):
            raise ValueError(f"a record is done with an evaluation or failed without, got {self.state!r}")

    def to_json(self) -> dict[str, Any]:
        evaluation = None if self.evaluation is None else self.evaluation.to_json()
        head = {"schema": SCHEMA, "key": self.pair.key, "state": self.state, "reason": self.reason}
        return {**head, "pair": self.pair.to_json(), "evaluation": evaluation, "files": dict(self.files)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PairRecord:
        """Raises FormatError for another schema, and ValueError, KeyError or TypeError for broken data."""
        require_schema(data, SCHEMA, "pair.json")
        evaluation = None if data["evaluation"] is None else Evaluation.from_json(data["evaluation"])
        return cls(Pair.from_json(data["pair"]), data["state"], evaluation, data["reason"], data["files"])
