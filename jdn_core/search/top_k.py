"""Which pairs are the best so far: computed from the records, never stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from jdn_core.faults import Point, faultpoint
from jdn_core.search.pairs import PairRecord
from jdn_core.search.score import Scorer


class Place(NamedTuple):
    """What a pair is ranked by: sorted by ``BEST_FIRST`` the earlier one comes first of equals."""

    order: tuple[float, float]
    number: int
    record: PairRecord


BEST_FIRST = itemgetter(0, 1)  # a place's order and number, for records do not compare


def places(records: Iterable[PairRecord], scorer: Scorer) -> Iterator[Place]:
    """One for each pair that was evaluated, in the order of the records."""
    for record in records:
        if record.evaluation is not None:
            yield Place(scorer.grade(record.evaluation).order, record.pair.index, record)


def ranked(records: Iterable[PairRecord], scorer: Scorer) -> tuple[PairRecord, ...]:
    """The pairs that were evaluated, best first; of equals the earlier one. Failed pairs are left out."""
    return tuple(place.record for place in sorted(places(records, scorer), key=BEST_FIRST))


def top_k(records: Iterable[PairRecord], scorer: Scorer, k: int) -> tuple[PairRecord, ...]:
    """The first ``k`` of ``ranked``.

    Raises:
        ValueError: k is less than 1.
    """
    if k < 1:
        raise ValueError(f"top_k must be >= 1, got {k}")
    faultpoint(Point.TOP_K)
    return ranked(records, scorer)[:k]
