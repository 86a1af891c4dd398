"""The loop of the search: keeps every worker busy, and cannot be told by its results how many there were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Protocol

from jdn_core.faults import Point, faultpoint
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord


class Pending(Protocol):
    """An evaluation under way: a future of the standard library, of Prefect, or the like."""

    def result(self) -> PairRecord: ...

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None: ...


def climb(
    climber: HillClimber, *, iterations: int, workers: int, submit: Callable[[Pair], Pending]
) -> Iterator[PairRecord]:
    """Runs Algorithm 1 with several evaluations at a time; gives every record once the climber knows it.

    A pair is proposed as soon as a worker is free and the results that its proposal needs are there
    (``ClimbRules.horizon``), so neither ``workers`` nor the order of the results changes a proposal.

    Args:
        climber: of the search, with what is recorded already.
        iterations: pairs after the base.
        workers: evaluations at a time, >= 1.
        submit: begins an evaluation and returns at once, or when it is over.

    Raises:
        Exception: what ``submit`` raised, once those under way are finished; or at once what an evaluation
            raised, and those under way are left to their owner.
    """
    finished: SimpleQueue[Pending] = SimpleQueue()
    running, ending = 0, False
    refusal: Exception | None = None
    while True:
        while running < workers and not ending and climber.next_index <= iterations and climber.ready:
            pair = climber.ask()
            if pair is None:
                ending = True
                break
            faultpoint(Point.SEARCH_ASK)
            try:
                submit(pair).add_done_callback(finished.put)
                running += 1
            except Exception as error:
                refusal, ending = error, True
        if not running:
            if refusal is not None:
                raise refusal
            return
        record = finished.get().result()
        running -= 1
        climber.tell(record)
        faultpoint(Point.SEARCH_TELL)
        yield record
