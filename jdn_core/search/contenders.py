"""What stands beside a search's winner: the winner finished, and what anybody would do first (ours).

The winner is the best of many pairs on the same photos, and its lineage was trained longer than the base. The
controls tell what the search adds to that: the base trained as long (``longer``), through the same fast
evaluations as it is (``distilled``), or narrowed to the winner's cost (``scaled``).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, assert_never

from jdn_core.errors import StorageError
from jdn_core.faults import Point, faultpoint
from jdn_core.search import latencies
from jdn_core.search.pairs import Evaluation, PairRecord
from jdn_core.search.records import hashes_of, read_sealed
from jdn_core.search.score import Grade, grade
from jdn_core.search.standing import Graded, Standing
from jdn_core.settings.search import Control
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.storage import durable
from jdn_core.storage.canonical import content_key
from jdn_core.storage.schemas import require_schema

SCHEMA = 1  # of contender.json
RECORD_FILE = "contender.json"
Name = Literal["winner", "longer", "distilled", "scaled"]


@dataclass(frozen=True)
class Bound:
    """The cost that a narrower net may have: the winner's."""

    resolution: Resolution
    macs: int

    def to_json(self) -> dict[str, Any]:
        return {"resolution": str(self.resolution), "macs": self.macs}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Bound:
        return cls(Resolution.parse(data["resolution"]), data["macs"])


@dataclass(frozen=True)
class Contender:
    """Everything that decides a training beside the search, so its key names the result before it exists.

    Attributes:
        name: what it is.
        search, seed: of the search.
        epochs: of the winner's whole lineage, the base's among them, with the last cool-down.
        finish: epochs of the last cool-down; 0: none.
        pair: key of the winner's pair that is finished; none for a control.
        lineage: keys of the pairs from the base to the winner, whose teachers ``distilled`` has.
        bound: what ``scaled`` may cost.
    """

    name: Name
    search: str
    seed: int
    epochs: int
    finish: int = 0
    pair: str | None = None
    lineage: tuple[str, ...] = ()
    bound: Bound | None = None

    @cached_property
    def key(self) -> str:
        """SHA-256 of all of it."""
        return content_key(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "search": self.search,
            "seed": self.seed,
            "epochs": self.epochs,
            "finish": self.finish,
            "pair": self.pair,
            "lineage": list(self.lineage),
            "bound": None if self.bound is None else self.bound.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contender:
        bound = None if data["bound"] is None else Bound.from_json(data["bound"])
        return cls(**{**data, "lineage": tuple(data["lineage"]), "bound": bound})


@dataclass(frozen=True)
class ContenderRecord:
    """An immutable record: a contender with its evaluation, or with the reason why there is none.

    Attributes:
        contender: what was asked for.
        student: its architecture; none where there is none.
        evaluation: without prunings, for nothing is proposed from it; none where it failed.
        reason: of the failure.
        files: name of every other file of the record's folder -> SHA-256.
    """

    contender: Contender
    student: DetectorSpec | None = None
    evaluation: Evaluation | None = None
    reason: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "key": self.contender.key,
            "state": "failed" if self.evaluation is None else "done",
            "reason": self.reason,
            "contender": self.contender.to_json(),
            "student": None if self.student is None else self.student.to_json(),
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ContenderRecord:
        """Raises FormatError for another schema, and ValueError, KeyError or TypeError for broken data."""
        require_schema(data, SCHEMA, RECORD_FILE)
        return cls(
            contender=Contender.from_json(data["contender"]),
            student=None if data["student"] is None else DetectorSpec.from_json(data["student"]),
            evaluation=None if data["evaluation"] is None else Evaluation.from_json(data["evaluation"]),
            reason=data["reason"],
            files=data["files"],
        )


class ContenderRecords:
    """The records below ``folder``, as ``controls/NAME/contender.json`` beside a detector's files.

    A search that is prolonged may have another winner; its controls then take the place of the old ones.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "controls"

    def path(self, name: Name) -> Path:
        """Returns where the record of a contender is, or would be."""
        return self._folder / name

    def get(self, contender: Contender) -> ContenderRecord | None:
        """Returns the record of exactly this contender; none where there is no whole one."""
        try:
            found = read_sealed(self.path(contender.name) / RECORD_FILE, ContenderRecord.from_json)
        except (FileNotFoundError, StorageError):
            return None
        if found.contender != contender:
            return None
        if found.evaluation is None:
            return found
        facts = latencies.with_facts(found.evaluation, self.path(contender.name))
        return replace(found, evaluation=facts)

    def staging(self, name: Name) -> Path:
        """Returns a new, empty folder to fill with a contender's files and to hand to ``commit``."""
        return durable.stage_folder(self.path(name))

    def commit(self, record: ContenderRecord, staged: Path) -> ContenderRecord:
        """Makes a staged folder the record of its contender; one that is there already stays.

        Raises:
            StorageError: the disk is full or broken; nothing was committed.
        """
        record, final = replace(record, files=hashes_of(staged)), self.path(record.contender.name)
        durable.write_json(staged / RECORD_FILE, record.to_json(), indent=None, seal=True)
        faultpoint(Point.CONTROL_RECORD)
        if self.get(record.contender) is None:
            # That of another winner, or damaged: what it was of can be trained again.
            shutil.rmtree(final, ignore_errors=True)
        durable.commit_folder(staged, final)
        faultpoint(Point.CONTROL_SAVED)
        return self.get(record.contender) or record  # read back: JSON makes lists of tuples


class Contest(NamedTuple):
    """The epochs of a search's trainings, and what is to stand beside its winner."""

    base_epochs: int
    pair_epochs: int
    finish: float
    controls: tuple[Control, ...]


class Entrant(NamedTuple):
    """One of those that may be the result, as the search's own photos grade it.

    Attributes:
        name: ``winner`` or a control's.
        pair: the record of a winner that is a pair as it is.
        contender: the record of a trained contender.
        grade: by H at the frame that it chooses.
    """

    name: Name
    pair: PairRecord | None
    contender: ContenderRecord | None
    grade: Grade

    @property
    def evaluation(self) -> Evaluation:
        """Returns what was measured of it on the search's own photos."""
        found = self.contender or self.pair
        assert found is not None
        assert found.evaluation is not None
        return found.evaluation


def winner(standing: Standing) -> Graded:
    """Returns the best pair that keeps the hard bounds; the base where none does.

    Raises:
        ValueError: the search has no evaluated base.
    """
    _ = standing.base
    scored = (graded for graded in standing.ranked() if graded.grade and graded.grade.shown is not None)
    return next(scored, standing.graded(standing.records[0].pair.key))


def lineage(standing: Standing, record: PairRecord) -> tuple[PairRecord, ...]:
    """Returns the pairs from the first after the base down to ``record``; none for the base itself."""
    found: list[PairRecord] = []
    while record.pair.parent is not None:
        found.append(record)
        record = standing.graded(record.pair.parent).record
    return tuple(reversed(found))


def wanted(standing: Standing, contest: Contest) -> tuple[Contender, ...]:
    """Returns what is to be trained beside the winner as it is now: a pure function of the records.

    Where the base itself has won there is nothing to tell apart, so there are no controls.

    Raises:
        ValueError: the search has no evaluated base.
    """
    best = winner(standing)
    record, ancestors = best.record, lineage(standing, best.record)
    epochs = contest.base_epochs + contest.pair_epochs * len(ancestors)
    finish = math.ceil(contest.finish * epochs)
    common = Contender("winner", record.pair.search, record.pair.seed, epochs + finish, finish)
    found = [replace(common, pair=record.pair.key)] if finish else []
    for name in contest.controls if ancestors else ():
        match name:
            case "longer":
                found.append(replace(common, name=name))
            case "distilled":
                keys = tuple(each.pair.key for each in ancestors)
                found.append(replace(common, name=name, lineage=keys))
            case "scaled":
                assert best.grade is not None
                bound = Bound(best.grade.measurement.resolution, best.grade.measurement.macs)
                found.append(replace(common, name=name, bound=bound))
            case _:
                assert_never(name)
    return tuple(found)


def entrants(standing: Standing, records: Iterable[ContenderRecord]) -> tuple[Entrant, ...]:
    """Grades the winner, finished if that helped, and then the controls that have an evaluation.

    Raises:
        ValueError: the search has no evaluated base.
    """
    rule, base = standing.score, standing.base
    best = winner(standing)
    assert best.grade is not None
    trained = {
        each.contender.name: Entrant(
            each.contender.name, None, each, grade(each.evaluation, rule=rule, base=base)
        )
        for each in records
        if each.evaluation is not None
    }
    as_it_is = Entrant("winner", best.record, None, best.grade)
    return (result((trained.pop("winner", as_it_is), as_it_is)), *trained.values())


def result(entrants: Iterable[Entrant]) -> Entrant:
    """Returns the best of them under H on the search's own photos; of equals the first."""
    return min(entrants, key=lambda entrant: entrant.grade.order)
