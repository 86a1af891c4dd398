"""The records of a search, graded once and kept in order, for all that ranks, shows, keeps or sends pairs."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from jdn_core.faults import Point, faultpoint
from jdn_core.search.pairs import PairRecord
from jdn_core.search.score import Base, Grade, grade
from jdn_core.settings.search import ScoreSettings


class Graded(NamedTuple):
    """A record with the grade that ranks it; a failed pair has none."""

    record: PairRecord
    grade: Grade | None


class Standing:
    """How the pairs of a search stand under one score; grows with each record.

    A record is graded when it is added and never again, so that what follows one pair costs the same after
    10,000 pairs as after ten. One thread adds; other threads may read meanwhile.

    Args:
        score: how accuracy and cost become one number.
        records: known at the start, in any order.

    Raises:
        ValueError: as ``add`` does.
    """

    def __init__(self, score: ScoreSettings, records: Iterable[PairRecord] = ()) -> None:
        self.score = score
        self._base: Base | None = None
        self._by_key: dict[str, Graded] = {}
        self._records: list[PairRecord] = []  # by index
        self._ranked: list[tuple[tuple[float, float], int, str, Graded]] = []  # best first
        for record in sorted(records, key=_index):
            self.add(record)

    @property
    def base(self) -> Base:
        """Returns what scores are relative to.

        Raises:
            ValueError: pair 0 was not added, or has no evaluation.
        """
        if self._base is None:
            raise ValueError("the search has no evaluated base (pair 0)")
        return self._base

    @property
    def records(self) -> Sequence[PairRecord]:
        """Returns all records by index; the sequence grows as records are added."""
        return self._records

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def add(self, record: PairRecord) -> Graded:
        """Grades a record and sorts it in; an equal record again changes nothing.

        Raises:
            ValueError: the pair has an evaluation, but the base has none or was not added before; or another
                record of this pair is known.
        """
        key, index = record.pair.key, record.pair.index
        if known := self._by_key.get(key):
            if known.record is not record and known.record != record:
                raise ValueError(f"there is another record of pair {index} ({key})")
            return known
        if index == 0 and record.evaluation is not None:
            self._base = Base.of(record.evaluation, self.score)
        graded = Graded(record, None)
        if record.evaluation is not None:
            found = grade(record.evaluation, rule=self.score, base=self.base)
            graded = Graded(record, found)
            insort(self._ranked, (found.order, index, key, graded))  # keys differ: grades never compare
        self._by_key[key] = graded
        insort(self._records, record, key=_index)
        return graded

    def graded(self, key: str) -> Graded:
        """Returns the record of a pair with its grade; raises KeyError where it was not added."""
        return self._by_key[key]

    def ranked(self) -> Iterator[Graded]:
        """Returns the evaluated pairs that there are now, best first; of equals the earlier pair."""
        return (graded for *_, graded in tuple(self._ranked))

    def best(self, k: int) -> tuple[Graded, ...]:
        """Returns the first ``k`` of ``ranked``; fewer where there are fewer.

        Raises:
            ValueError: k is less than 1.
        """
        if k < 1:
            raise ValueError(f"top_k must be >= 1, got {k}")
        faultpoint(Point.TOP_K)
        return tuple(islice(self.ranked(), k))

    def newest(self, n: int) -> tuple[PairRecord, ...]:
        """Returns the ``n`` records of the highest indices, by index; fewer where there are fewer."""
        return tuple(self._records[-n:]) if n else ()


def _index(record: PairRecord) -> int:
    return record.pair.index
