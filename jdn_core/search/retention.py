"""Which pairs' weights a search still needs: those that its pending and its next pairs start from."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from jdn_core.search.pairs import Pair
from jdn_core.search.standing import Standing


def removable(standing: Standing, pending: Iterable[Pair], *, top_k: int, horizon: int) -> frozenset[str]:
    """Keys of the pairs whose weights nothing waits for.

    What stays: the base's, those of the parents of pending pairs, of the best pairs, of the best pairs among
    those that the next proposal knows, and of all that it does not know yet. The best that any later proposal
    knows are best now or come later, so what was removable stays so, whatever the results will be. Only where
    the best pairs have no untried neighbour left can a proposal turn to a pair whose weights are gone; they
    are then fetched again.

    Args:
        standing: all results so far.
        pending: pairs that were proposed and have no result yet.
        top_k: how many of the best may become parents, >= 1.
        horizon: the newest pair that the next proposal knows (``ClimbRules.horizon``).
    """
    ranked = [graded.record.pair for graded in standing.ranked()]
    known = (pair for pair in ranked if pair.index <= horizon)
    needed = {pair.parent for pair in pending}
    needed |= {pair.key for pair in (*ranked[:top_k], *islice(known, top_k))}
    return frozenset(pair.key for pair in ranked if 0 < pair.index <= horizon and pair.key not in needed)
