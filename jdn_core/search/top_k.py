"""Which pairs are the best so far: computed from the records, never stored."""

from __future__ import annotations

from collections.abc import Iterable

from jdn_core.faults import Point, faultpoint
from jdn_core.search.pairs import PairRecord
from jdn_core.search.score import Scorer


def ranked(records: Iterable[PairRecord], scorer: Scorer) -> tuple[PairRecord, ...]:
    """The pairs that were evaluated, best first; of equals the earlier one. Failed pairs are left out."""
    graded = [
        (scorer.grade(record.evaluation).order, record.pair.index, record)
        for record in records
        if record.evaluation is not None
    ]
    return tuple(record for *_, record in sorted(graded, key=lambda item: item[:2]))


def top_k(records: Iterable[PairRecord], scorer: Scorer, k: int) -> tuple[PairRecord, ...]:
    """The first ``k`` of ``ranked``.

    Raises:
        ValueError: k is less than 1.
    """
    if k < 1:
        raise ValueError(f"top_k must be >= 1, got {k}")
    faultpoint(Point.TOP_K)
    return ranked(records, scorer)[:k]
