"""Weights that may leave the disk: never those that a pending or a best pair needs."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair
from jdn_core.search.retention import needed
from jdn_core.search.standing import Standing
from tests.jdn_core.search.worlds import evaluate, start


def removable(standing: Standing, pending: Sequence[Pair], *, top_k: int, horizon: int) -> frozenset[str]:
    """Keys of the pairs with weights that need not stay."""
    stay = needed(standing, pending, best=standing.best(top_k), top_k=top_k, horizon=horizon)
    return frozenset(graded.record.pair.key for graded in standing.ranked()) - stay


@settings(max_examples=40)
@given(
    workers=st.integers(1, 4),
    k=st.integers(1, 4),
    failing=st.frozensets(st.integers(1, 24), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_whatever_the_order_no_weights_go_that_a_pending_or_a_best_pair_needs(
    workers: int, k: int, failing: frozenset[int], order: Random
) -> None:
    rules, base = start(top_k=k, lookback=2 * workers)
    climber, standing, gone = HillClimber(rules, [base]), Standing(rules.score, [base]), set()
    while len(standing) < 25:
        while len(climber.pending) < workers and climber.ready and climber.next_index < 25:
            horizon = rules.horizon(climber.next_index)
            pair = climber.ask()
            known = [graded.record.pair for graded in standing.ranked()]
            known_best = {pair.key for pair in [pair for pair in known if pair.index <= horizon][:k]}
            assert pair.parent not in gone or pair.parent not in known_best
            gone.discard(pair.parent)  # fetched again, as its pair needs it
        record = evaluate(order.choice(climber.pending), failing=failing)
        climber.tell(record)
        standing.add(record)
        horizon = rules.horizon(climber.next_index)
        free = removable(standing, climber.pending, top_k=k, horizon=horizon)
        assert not free & {pair.parent for pair in climber.pending}
        assert not free & {graded.record.pair.key for graded in standing.best(k)}
        assert base.pair.key not in free
        gone |= free
    assert gone


def test_what_was_removable_stays_so_while_nothing_new_starts_from_it() -> None:
    rules, base = start(top_k=2, lookback=1)
    climber, standing = HillClimber(rules, [base]), Standing(rules.score, [base])
    before: frozenset[str] = frozenset()
    for index in range(1, 20):
        pair = climber.ask()
        before -= {pair.parent}
        record = evaluate(pair)
        standing.add(record)
        climber.tell(record)
        free = removable(standing, (), top_k=2, horizon=index)
        assert before <= free
        before = free


def test_failed_pairs_have_no_weights_to_remove() -> None:
    rules, base = start(top_k=1)
    climber = HillClimber(rules, [base])
    failed = evaluate(climber.ask(), failing=frozenset({1}))
    assert removable(Standing(rules.score, [base, failed]), (), top_k=1, horizon=1) == frozenset()
