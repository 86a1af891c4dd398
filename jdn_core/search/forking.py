"""A new search from the pairs of an old one: their records, re-keyed; their results stay what they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from jdn_core.search.pairs import PairRecord


def replanted(records: Iterable[PairRecord], *, search: str, seed: int) -> dict[str, PairRecord]:
    """Returns key of a pair in the old search -> its record in the new one; indices 0..n, in the old order.

    Args:
        records: of the old search, pair 0 and every parent among them.
        search: name of the new search.
        seed: of the new search.

    Raises:
        ValueError: a parent is missing.
    """
    planted: dict[str, PairRecord] = {}
    for index, record in enumerate(sorted(records, key=lambda record: record.pair.index)):
        parent = record.pair.parent
        if parent is not None:
            if parent not in planted:
                raise ValueError(f"pair {record.pair.index} needs the record of its parent {parent}")
            parent = planted[parent].pair.key
        pair = replace(record.pair, search=search, seed=seed, index=index, parent=parent)
        planted[record.pair.key] = replace(record, pair=pair)
    return planted
