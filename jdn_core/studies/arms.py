"""What a study trains: an arm is a detector to begin with, a pruning, and trainings in a row.

All of it are frozen values, so an arm's key names its result before it exists; studies that have an arm in
common train it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel

from jdn_core.settings.distillation import DistillationSettings
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.teachers import SubnetSpec
from jdn_core.storage.canonical import content_key

Choice = Literal["ap", "score"]


@dataclass(frozen=True)
class Base:
    """The trained base of a seed."""


@dataclass(frozen=True)
class Fresh:
    """An untrained detector: the base's architecture as the base begins, a narrower one, or a subnet's.

    Attributes:
        width: factor on the base's own width; 1: the base's architecture.
        subnet: whose architecture it is instead.
    """

    width: float = 1.0
    subnet: SubnetSpec | None = None


@dataclass(frozen=True)
class Taken:
    """A subnet taken out of the pool after a phase, with BN statistics of its own or those of the pool."""

    subnet: SubnetSpec
    phase: int
    bn_reset: bool = True


@dataclass(frozen=True)
class Searched:
    """The result of a search.

    Attributes:
        iterations: pairs after the base.
        search, distillation: what its settings say instead, by the names of those sections.
    """

    iterations: int
    search: tuple[tuple[str, Any], ...] = ()
    distillation: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Bred:
    """The best subnet that an evolutionary search of the pool finds.

    Attributes:
        generations, population: how many subnets are tried.
        max_macs: most multiply-accumulates at one frame at least.
    """

    generations: int
    population: int
    max_macs: int


Source = Base | Fresh | Taken | Searched | Bred


@dataclass(frozen=True)
class Pruning:
    """Channels that are removed before the trainings: a share at once, or step by step down to a cost.

    Attributes:
        share: of all channels that can go; in (0, 1).
        max_macs: at the largest resolution; none: one step.
    """

    share: float
    max_macs: int | None = None


@dataclass(frozen=True)
class Piece:
    """One training.

    Attributes:
        regime: rates and epochs.
        distillation: weights of the losses.
        teacher: a subnet of the pool; none: the student learns from the photos alone.
    """

    regime: TrainingSettings
    distillation: DistillationSettings
    teacher: SubnetSpec | None = None


@dataclass(frozen=True)
class Arm:
    """One of the things that a study compares.

    Attributes:
        name: in the study's tables; it is not part of the key.
        source: what it begins with.
        pruning: what is removed from it first.
        pieces: trainings in a row; each goes on where the one before ended.
        chosen_by: what chooses the resolution on the photos of the validation split: AP, or the score H.
    """

    name: str
    source: Source
    pruning: Pruning | None = None
    pieces: tuple[Piece, ...] = ()
    chosen_by: Choice = "ap"

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that decides the arm's result, beside the seed and the study folder's settings."""
        return content_key({name: data for name, data in to_json(self).items() if name != "name"})

    @property
    def needs_pool(self) -> bool:
        """Returns whether a pool must be trained before."""
        taught = any(piece.teacher for piece in self.pieces)
        return taught or isinstance(self.source, Taken | Searched | Bred)


def source_key(source: Source) -> str:
    """Returns the key of what an arm begins with."""
    return content_key(to_json(source))


def to_json(value: Any) -> Any:
    """Returns a value of this module as plain data, the names of its classes among it."""
    match value:
        case SubnetSpec():
            return value.to_json()
        case BaseModel():
            return value.model_dump(mode="json")
        case Mapping():
            return {name: to_json(each) for name, each in value.items()}
        case tuple() | list():
            return [to_json(each) for each in value]
        case Base() | Fresh() | Taken() | Searched() | Bred() | Pruning() | Piece() | Arm():
            data = {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
            return {"kind": type(value).__name__, **data}
        case _:
            return value
