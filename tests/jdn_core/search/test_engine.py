"""The loop with several evaluations at a time: same pairs for any number of workers and any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import permutations
from typing import Any

import pytest

from jdn_core.search import engine
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.space.teachers import SubnetSpace
from tests.jdn_core.search.worlds import evaluate, start

ITERATIONS = 12
ONE_TEACHER = SubnetSpace(((1, 1),) * 4, (1.0,))
Submit = Callable[[Pair], Future[PairRecord]]


def searched(
    submit: Submit, *, workers: int = 1, iterations: int = ITERATIONS, **rules: Any
) -> list[PairRecord]:
    """The records of a whole search by index, the base among them."""
    climb_rules, base = start(**rules)
    records = [
        base,
        *engine.climb(
            HillClimber(climb_rules, [base]), iterations=iterations, workers=workers, submit=submit
        ),
    ]
    return sorted(records, key=lambda record: record.pair.index)


def at_once(pair: Pair) -> Future[PairRecord]:
    done: Future[PairRecord] = Future()
    done.set_result(evaluate(pair))
    return done


def crowd_ending_in(order: Sequence[int]) -> Submit:
    """The first evaluations end together, in this order, when all are under way; later ones end at once."""
    waiting: dict[int, tuple[Future[PairRecord], Pair]] = {}

    def submit(pair: Pair) -> Future[PairRecord]:
        if pair.index > len(order):
            return at_once(pair)
        future: Future[PairRecord] = Future()
        waiting[pair.index] = future, pair
        return _Late(waiting, order) if len(waiting) == len(order) else future

    return submit


class _Late(Future[PairRecord]):
    """The last one to be submitted: once the loop listens to it, all of them end."""

    def __init__(self, waiting: dict[int, tuple[Future[PairRecord], Pair]], order: Sequence[int]) -> None:
        super().__init__()
        self._waiting, self._order = waiting, order
        last = max(waiting)
        waiting[last] = self, waiting[last][1]

    def add_done_callback(self, fn: Callable[[Future[PairRecord]], object]) -> None:
        super().add_done_callback(fn)
        for index in () if self.done() else self._order:
            future, pair = self._waiting[index]
            future.set_result(evaluate(pair))


@pytest.mark.parametrize("order", list(permutations(range(1, 5))))
def test_every_order_of_finishing_of_four_pairs_gives_the_same_records(order: tuple[int, ...]) -> None:
    crowd = searched(crowd_ending_in(order), workers=4, lookback=4)
    assert crowd == searched(at_once, lookback=4)


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_threads_that_race_give_the_same_records(workers: int) -> None:
    with ThreadPoolExecutor(workers) as threads:
        raced = searched(lambda pair: threads.submit(evaluate, pair), workers=workers, lookback=8)
    assert raced == searched(at_once, lookback=8)


def test_no_more_evaluations_are_under_way_than_there_are_workers() -> None:
    under_way: list[int] = []

    def submit(pair: Pair) -> Future[PairRecord]:
        under_way.append(pair.index)
        assert len(under_way) <= 3
        future = crowd(pair)
        future.add_done_callback(lambda _: under_way.remove(pair.index))
        return future

    crowd = crowd_ending_in((3, 1, 2))
    assert len(searched(submit, workers=3, lookback=6)) == ITERATIONS + 1
    assert under_way == []


def test_a_gap_that_a_crash_left_is_filled_first() -> None:
    climb_rules, base = start(lookback=3)
    whole = searched(at_once, lookback=3)
    asked: list[int] = []

    def submit(pair: Pair) -> Future[PairRecord]:
        asked.append(pair.index)
        return at_once(pair)

    climber = HillClimber(climb_rules, [base, *whole[1:4], whole[6]])
    told = [*engine.climb(climber, iterations=ITERATIONS, workers=2, submit=submit)]
    assert asked == [4, 5, *range(7, ITERATIONS + 1)]
    assert sorted(told, key=lambda record: record.pair.index) == [*whole[4:6], *whole[7:]]


def test_an_evaluation_that_raises_ends_the_loop() -> None:
    def submit(pair: Pair) -> Future[PairRecord]:
        broken: Future[PairRecord] = Future()
        broken.set_exception(OSError("disk full"))
        return broken

    with pytest.raises(OSError, match="disk full"):
        searched(submit)


def test_where_nothing_new_can_begin_what_is_under_way_is_finished_first() -> None:
    crowd = crowd_ending_in((2, 1, 3))

    def submit(pair: Pair) -> Future[PairRecord]:
        if pair.index > 3:
            raise ConnectionError("no server")
        return crowd(pair)

    climb_rules, base = start(lookback=6)
    climbing = engine.climb(HillClimber(climb_rules, [base]), iterations=ITERATIONS, workers=3, submit=submit)
    assert [next(climbing).pair.index for _ in range(3)] == [2, 1, 3]
    with pytest.raises(ConnectionError, match="no server"):
        next(climbing)


def test_a_search_without_another_neighbour_ends_when_all_results_are_in() -> None:
    def failing(pair: Pair) -> Future[PairRecord]:
        done: Future[PairRecord] = Future()
        done.set_result(evaluate(pair, failing=frozenset(range(1, 99))))
        return done

    records = searched(failing, workers=3, iterations=99, lookback=3, space=ONE_TEACHER)
    assert len(records) == 1 + 2 + 1 + 4 + 6
    assert {record.state for record in records[1:]} == {"failed"}
