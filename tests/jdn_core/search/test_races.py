"""Two processes that commit the same pair at the same time: one wins, the other one's folder is gone."""

import multiprocessing
import os
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import RECORD_FILE, Records
from jdn_core.storage import durable
from tests import results
from tests.jdn_core.search.worlds import evaluate, start

RACES = 50
WEIGHTS = "weights.safetensors"


def outcome(index: int, racer: int) -> PairRecord:
    """The same pair with other losses for each racer, so that the winner can be told."""
    _, base = start()
    record = evaluate(replace(base.pair, index=index))
    assert record.evaluation is not None
    return replace(record, evaluation=replace(record.evaluation, losses={"racer": (float(racer),)}))


def race(folder: Path, racer: int, line: Barrier, results: "SimpleQueue[list[bool]]") -> None:
    """Commits every pair at the same time as the other racer does."""
    records, won = Records(folder), []
    for index in range(RACES):
        record = outcome(index, racer)
        staged = records.staging(record.pair.key)
        durable.write_bytes(staged / WEIGHTS, bytes([racer]))
        line.wait(60)
        won.append(records.commit(record, staged))
    results.put(won)


def test_of_two_processes_that_commit_a_pair_one_wins_and_leaves_a_whole_record(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    line = context.Barrier(2)
    queues = [context.SimpleQueue() for _ in range(2)]
    racers = [context.Process(target=race, args=(tmp_path, racer, line, queues[racer])) for racer in range(2)]
    for racer in racers:
        racer.start()
    won = [queue.get() for queue in queues]
    for racer in racers:
        racer.join(60)
    records = Records(tmp_path)
    assert results.problems(records) == ()
    assert len(records.all()) == RACES
    assert not list(tmp_path.rglob(".*.tmp"))
    for index, record in enumerate(records.all()):
        winner = [racer for racer in range(2) if won[racer][index]]
        assert len(winner) == 1
        assert record.evaluation == outcome(index, winner[0]).evaluation
        assert (records.path(record.pair.key) / WEIGHTS).read_bytes() == bytes(winner)
        assert sorted(os.listdir(records.path(record.pair.key))) == [RECORD_FILE, WEIGHTS]
