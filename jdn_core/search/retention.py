"""Which pairs' weights a search still needs: those that its pending and its next pairs start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, takewhile

from jdn_core.search.pairs import Pair
from jdn_core.search.standing import Graded, Standing


def needed(
    standing: Standing, pending: Iterable[Pair], *, best: Sequence[Graded], top_k: int, horizon: int
) -> frozenset[str]:
    """Returns keys of the pairs whose weights must stay; those of all others may go.

    They are the base, the parents of pending pairs, the best pairs, the best pairs among those that the next
    proposal knows, and all that it does not know yet. The best that any later proposal knows are best now or
    come later, so what is not needed stays so, whatever the results will be. Only where the best pairs have
    no untried neighbour left can a proposal turn to a pair whose weights are gone; they are then fetched
    again.

    Args:
        standing: all results so far, the base among them.
        pending: pairs that were proposed and have no result yet.
        best: the best pairs, as many as may become parents.
        top_k: how many that is, >= 1.
        horizon: the newest pair that the next proposal knows (``ClimbRules.horizon``).
    """
    known = (graded for graded in standing.ranked() if graded.record.pair.index <= horizon)
    unknown = takewhile(lambda record: record.pair.index > horizon, reversed(standing.records))
    return frozenset(
        [
            standing.records[0].pair.key,
            *(str(pair.parent) for pair in pending),
            *(graded.record.pair.key for graded in (*best, *islice(known, top_k))),
            *(record.pair.key for record in unknown),
        ]
    )
