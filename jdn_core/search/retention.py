"""Which pairs' weights a search still needs: those that its pending and its next pairs start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.score import Scorer
from jdn_core.search.top_k import ranked


def removable(
    records: Sequence[PairRecord], pending: Iterable[Pair], *, scorer: Scorer, top_k: int, horizon: int
) -> frozenset[str]:
    """Keys of the pairs whose weights nothing waits for.

    What stays: the base's, those of the parents of pending pairs, of the best pairs, of the best pairs among
    those that the next proposal knows, and of all that it does not know yet. The best that any later proposal
    knows are best now or come later, so what was removable stays so, whatever the results will be. Only where
    the best pairs have no untried neighbour left can a proposal turn to a pair whose weights are gone; they
    are then fetched again.

    Args:
        records: all results so far.
        pending: pairs that were proposed and have no result yet.
        scorer: what ranks the pairs.
        top_k: how many of the best may become parents, >= 1.
        horizon: the newest pair that the next proposal knows (``ClimbRules.horizon``).
    """
    known = [record for record in records if record.pair.index <= horizon]
    needed = {pair.parent for pair in pending}
    for best in (ranked(records, scorer), ranked(known, scorer)):
        needed |= {record.pair.key for record in best[:top_k]}
    return frozenset(
        record.pair.key
        for record in records
        if record.evaluation is not None
        and 0 < record.pair.index <= horizon
        and record.pair.key not in needed
    )
