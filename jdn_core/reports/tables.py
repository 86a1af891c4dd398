"""The table of pairs: records in, NamedTuples out; commands, pages and trackers only show them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jdn_core.errors import UsageError
from jdn_core.search.contenders import ContenderRecord
from jdn_core.search.pairs import Evaluation
from jdn_core.search.score import Grade, grade_at, reference
from jdn_core.search.standing import Graded, Standing
from jdn_core.search.subnets import MEASURED, SubnetRecords
from jdn_core.space.notation import format_backbone
from jdn_core.space.teachers import SubnetSpec

T = TypeVar("T")
SORT_KEYS = ("score", "ap", "macs", "params", "latency_ms", "index", "action", "resolution", "state")
_HIGH_IS_GOOD = ("score", "ap")
NO_PAIR = -1  # index of a row that is none of a pair: JSON has null there


class Candidate(NamedTuple):
    """One row of the table of pairs; the fields are the keys of the command line's JSON.

    ``score``, ``ap``, ``macs`` and ``latency_ms`` are those at ``resolution``. AP is a fraction; MACs and
    parameters are whole numbers; latency is in milliseconds. What was not measured is None.
    """

    index: int  # type: ignore[assignment]  # the contract's name; a row is never searched
    key: str
    parent: int | None
    action: str
    student: str
    teacher: str
    resolution: str | None
    ap: float | None
    ap_by_resolution: dict[str, float]
    macs: int | None
    macs_by_resolution: dict[str, int]
    params: int | None
    latency_ms: float | None
    score: float | None
    state: str
    weights: str | None
    sha256: str | None
    teacher_ap: float | None = None  # at the largest resolution, where it was measured

    def to_json(self) -> dict[str, Any]:
        return self._asdict() | {"index": None if self.index == NO_PAIR else self.index}


def candidates(standing: Standing, *, folder: Path) -> tuple[Candidate, ...]:
    """Returns the table of pairs, by index.

    Args:
        standing: of one search; a parent that is not in it shows as None.
        folder: the search's, for the paths of the weights.
    """
    return tuple(row(standing.graded(record.pair.key), standing, folder) for record in standing.records)


def row(graded: Graded, standing: Standing, folder: Path) -> Candidate:
    """Returns one record's row."""
    record, grade = graded
    pair, evaluation = record.pair, record.evaluation
    known = pair.parent is not None and pair.parent in standing
    parent = standing.graded(str(pair.parent)).record.pair.index if known else None
    plain = Candidate(
        index=pair.index,
        key=pair.key,
        parent=parent,
        action=pair.action,
        student=format_backbone(pair.student.backbone),
        teacher=str(pair.teacher),
        resolution=None,
        ap=None,
        ap_by_resolution={},
        macs=None,
        macs_by_resolution={},
        params=None,
        latency_ms=None,
        score=None,
        state=record.state,
        weights=None,
        sha256=None,
        teacher_ap=_teacher_ap(pair.teacher, folder),
    )
    if evaluation is None or grade is None:
        return plain
    return _at(plain, evaluation, grade)._replace(
        ap_by_resolution={str(m.resolution): m.ap for m in evaluation.measurements},
        macs_by_resolution={str(m.resolution): m.macs for m in evaluation.measurements},
        params=evaluation.params,
        weights=str(folder / "pairs" / pair.key / "weights.safetensors"),
        sha256=evaluation.weights,
    )


def ranked(rows: Sequence[Candidate], *, by: str = "score", top: int | None = None) -> tuple[Candidate, ...]:
    """Sorts rows, best first: high score and AP, low everything else; unknown values last, ties by index.

    Raises:
        UsageError: ``by`` is no key that can be sorted.
    """
    if by not in SORT_KEYS:
        raise UsageError(f"sort key must be one of {', '.join(SORT_KEYS)}, got {by!r}")
    known = [row for row in rows if getattr(row, by) is not None]
    unknown = [row for row in rows if getattr(row, by) is None]
    sign = -1 if by in _HIGH_IS_GOOD else 1
    known.sort(key=lambda row: (getattr(row, by), sign * row.index), reverse=by in _HIGH_IS_GOOD)
    return (*known, *sorted(unknown, key=lambda row: row.index))[:top]


def undominated(items: Iterable[T], at: Callable[[T], tuple[float, float]]) -> list[T]:
    """Returns what no other one beats in both cost and AP, cheapest first; of equals the first.

    Args:
        items: to be compared.
        at: gives cost and AP of one.
    """
    found: list[T] = []
    most = -math.inf
    # Cheapest first, and of equally cheap ones the best: one is on the front if it raises the AP so far.
    for item in sorted(items, key=lambda each: (at(each)[0], -at(each)[1])):
        if at(item)[1] > most:
            found.append(item)
            most = at(item)[1]
    return found


def front(rows: Sequence[Candidate]) -> list[int]:
    """Returns indices of the pairs that no other one beats in both AP and latency, quickest first."""
    known = sorted(
        (row.index, row.latency_ms, row.ap) for row in rows if row.latency_ms and row.ap is not None
    )
    return [index for index, _, _ in undominated(known, lambda each: (each[1], each[2]))]


def base_row(standing: Standing, *, folder: Path, resolution: str | None = None) -> Candidate:
    """Returns the base's row at one resolution whatever the score would choose, by default at the largest.

    Raises:
        ValueError: there is no finished pair 0.
    """
    first = standing.records[0] if standing.records else None
    if first is None or first.evaluation is None:
        raise ValueError("the search has no evaluated base (pair 0)")
    chosen = next(
        (each for each in first.evaluation.measurements if str(each.resolution) == resolution),
        reference(first.evaluation),
    )
    found = grade_at(first.evaluation, chosen, rule=standing.score, base=standing.base)
    return _at(row(standing.graded(first.pair.key), standing, folder), first.evaluation, found)


def contender_row(record: ContenderRecord, grade: Grade, *, standing: Standing, folder: Path) -> Candidate:
    """Returns the row of a trained contender, which is no pair; a finished winner's parent is its pair.

    Args:
        record: done.
        grade: at the resolution that its score chose.
        standing: of the search's pairs.
        folder: the contender's own.
    """
    contender, evaluation = record.contender, record.evaluation
    assert evaluation is not None
    assert record.student is not None
    parent = None if contender.pair is None else standing.graded(contender.pair).record.pair
    teachers = [standing.graded(key).record.pair.teacher for key in contender.lineage]
    teacher = parent.teacher if parent else teachers[-1] if teachers else ""
    plain = Candidate(
        index=NO_PAIR,
        key=contender.key,
        parent=parent.index if parent else None,
        action="finish" if parent else f"control {contender.name}",
        student=format_backbone(record.student.backbone),
        teacher=str(teacher),
        resolution=None,
        ap=None,
        ap_by_resolution={str(m.resolution): m.ap for m in evaluation.measurements},
        macs=None,
        macs_by_resolution={str(m.resolution): m.macs for m in evaluation.measurements},
        params=evaluation.params,
        latency_ms=None,
        score=None,
        state="done",
        weights=str(folder / "weights.safetensors"),
        sha256=evaluation.weights,
    )
    return _at(plain, evaluation, grade)


def best_row(rows: Sequence[Candidate]) -> Candidate:
    """Returns the row of the highest score, the first of equals; the first pair if none has a score.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("the search has no pairs yet")
    return ranked(rows)[0]


def _teacher_ap(teacher: SubnetSpec, folder: Path) -> float | None:
    found = SubnetRecords(folder / MEASURED).get(teacher)
    return None if found is None else found.ap[found.resolution]


def _at(row: Candidate, evaluation: Evaluation, grade: Grade) -> Candidate:
    """Returns the row at the resolution of a grade; a score that a hard bound made infinite is None."""
    chosen = grade.measurement
    resolution = str(chosen.resolution)
    return row._replace(
        resolution=resolution,
        ap=chosen.ap,
        macs=chosen.macs,
        latency_ms=evaluation.timing.latency_ms.get(resolution),
        score=grade.shown,
    )
