"""A search that keeps only the weights it needs: MLflow has the others, verified, and gives them back."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jdn_core.detector.trunk import TRUNK_FILE
from jdn_core.run import assemble
from jdn_core.run.folder import Run
from jdn_core.run.inspection import inspect
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.records import RECORD_FILE
from jdn_core.storage import durable
from tasks.tracking import Publisher, mlflow_problems, restore_files
from tasks.tracking.dropping import Dropping
from tests import results
from tests.tasks.tracking.conftest import PAIRS
from tests.tasks.tracking.searches import pair_of, standing_of
from tests.tasks.tracking.servers import free_port

WEIGHTS = "weights.safetensors"


@pytest.fixture
def thrifty(search: Run) -> Run:
    """The tiny search under ``keep_weights: needed``, with one best pair."""
    settings = search.settings
    changed = {
        "tracking": settings.tracking.model_copy(update={"keep_weights": "needed"}),
        "search": settings.search.model_copy(update={"top_k": 1}),
    }
    return replace(search, settings=settings.model_copy(update=changed))


def with_weights(run: Run) -> set[int]:
    return {r.pair.index for r in run.records.all() if (run.records.path(r.pair.key) / WEIGHTS).exists()}


def forget(run: Run, *, down_to: set[int]) -> None:
    """As a search does after every result, until no others have weights."""
    standing, rules = standing_of(run), assemble.climb_rules(run.settings)
    climber = HillClimber(rules, standing.records)
    newest, best = standing.graded(standing.newest(1)[0].pair.key), standing.best(rules.search.top_k)
    with Publisher(run) as publisher:
        publisher.follow(standing)
        dropping, end = Dropping(run, standing, rules, publisher), time.monotonic() + 30
        while with_weights(run) > down_to and time.monotonic() < end:
            dropping.drop(climber, new=newest, best=best)


def test_base_and_best_stay_and_all_others_are_in_mlflow(thrifty: Run) -> None:
    ((best, _),) = standing_of(thrifty).best(1)
    forget(thrifty, down_to={0, best.pair.index})
    assert with_weights(thrifty) == {0, best.pair.index}
    found = inspect(thrifty)
    assert (found.problems, len(found.dropped)) == ([], PAIRS + 1 - len(with_weights(thrifty)))
    assert mlflow_problems(thrifty, dropped=found.dropped) == []
    for key in found.dropped:
        assert restore_files(thrifty, key) == (WEIGHTS,)
    assert results.problems(thrifty.records) == ()


def test_a_trunk_leaves_with_the_weights_and_comes_back_with_them(thrifty: Run) -> None:
    for record in thrifty.records.all():
        folder = thrifty.records.path(record.pair.key)
        (folder / TRUNK_FILE).write_bytes(record.pair.key.encode())
        files = {**record.files, TRUNK_FILE: durable.sha256_of(folder / TRUNK_FILE)}
        durable.write_json(
            folder / RECORD_FILE, replace(record, files=files).to_json(), indent=None, seal=True
        )
    run = replace(thrifty)  # reads the records anew
    ((best, _),) = standing_of(run).best(1)
    forget(run, down_to={0, best.pair.index})
    dropped = inspect(run).dropped
    assert len(dropped) == PAIRS + 1 - len({0, best.pair.index})
    for key in dropped:
        assert not (run.records.path(key) / TRUNK_FILE).exists()
        assert restore_files(run, key) == (TRUNK_FILE, WEIGHTS)
        assert (run.records.path(key) / TRUNK_FILE).read_bytes() == key.encode()


def test_weights_that_left_and_that_mlflow_lost_are_a_problem(thrifty: Run) -> None:
    ((best, _),) = standing_of(thrifty).best(1)
    forget(thrifty, down_to={0, best.pair.index})
    gone = next(index for index in range(1, PAIRS) if index not in with_weights(thrifty))
    shutil.rmtree(Path(pair_of(thrifty, gone).info.artifact_uri.removeprefix("file://")))
    found = mlflow_problems(thrifty, dropped=inspect(thrifty).dropped)
    assert any(f"pair {gone}" in str(problem) and "weights" in str(problem) for problem in found)


def test_nothing_goes_where_all_is_kept_or_mlflow_does_not_answer(search: Run, thrifty: Run) -> None:
    silent = thrifty.settings.tracking.model_copy(update={"uri": f"http://127.0.0.1:{free_port()}"})
    unheard = replace(thrifty, settings=thrifty.settings.model_copy(update={"tracking": silent}))
    for run in (search, unheard):
        standing, rules = standing_of(run), assemble.climb_rules(run.settings)
        climber, publisher = HillClimber(rules, standing.records), Publisher(run)
        publisher.follow(standing)
        dropping = Dropping(run, standing, rules, publisher)
        newest, best = standing.graded(standing.newest(1)[0].pair.key), standing.best(1)
        assert dropping.drop(climber, new=newest, best=best) == frozenset()
        publisher.finish(timeout=20)
        assert dropping.drop(climber, new=newest, best=best) == frozenset()
    assert with_weights(search) == set(range(PAIRS + 1))
