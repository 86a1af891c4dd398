"""What the lookback rule costs: eight workers through the real loop, with evaluations that sleep."""

from __future__ import annotations

import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

from jdn_core.search import engine
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from tests.benchmarks.conftest import Note
from tests.jdn_core.search.worlds import evaluate, start

WORKERS, PAIRS, SECONDS, VARIATION = 8, 240, 0.4, 0.3
ROUNDS = 3


def test_the_lookback_rule_costs_little_of_eight_workers_time(note: Note) -> None:
    """The wall time of a search against that of the same sleeps in a plain pool of threads, paired."""
    lost = []
    for seed in range(ROUNDS):
        sleeps = [_seconds(seed, index) for index in range(1, PAIRS + 1)]
        with ThreadPoolExecutor(WORKERS) as threads:
            begun = time.monotonic()
            list(threads.map(time.sleep, sleeps))
            free = time.monotonic() - begun
        lost.append(100 * (1 - free / _searched(seed)))
    note("lookback rule, utilisation lost at 8 workers, CV 0.3", statistics.median(lost), "%", bound=2.0)


def _searched(seed: int) -> float:
    """Seconds of a whole search with the default lookback."""

    def sleep(pair: Pair) -> PairRecord:
        time.sleep(_seconds(seed, pair.index))
        return evaluate(pair)

    rules, base = start(lookback=2 * WORKERS)
    climber = HillClimber(rules, [base])
    with ThreadPoolExecutor(WORKERS) as threads:
        begun = time.monotonic()
        climbing = engine.climb(
            climber, iterations=PAIRS, workers=WORKERS, submit=lambda pair: threads.submit(sleep, pair)
        )
        assert len(list(climbing)) == PAIRS
        return time.monotonic() - begun


def _seconds(seed: int, index: int) -> float:
    """How long an evaluation takes: a property of the pair, whatever its worker; log-normal."""
    sigma = math.sqrt(math.log(1 + VARIATION**2))
    return SECONDS * Random(f"{seed} {index}").lognormvariate(-(sigma**2) / 2, sigma)
