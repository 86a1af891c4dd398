"""What follows a record in a search of 10,000 pairs: grade, rank, table, what is sent, what is dropped."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

from jdn_core.detector.folder import WEIGHTS_FILE
from jdn_core.run.checks import refuse_failures
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.standing import Graded, Standing
from jdn_core.settings.whole import parse
from tasks.orchestration import artifacts
from tasks.tracking.dropping import Dropping
from tasks.tracking.entries import Entry
from tasks.tracking.search_run import Published, SearchRun
from tasks.tracking.sending import Outbox, Publisher
from tasks.tracking.server import Experiment
from tests.benchmarks import long_search
from tests.benchmarks.conftest import Note

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

T = TypeVar("T")
TURNS = 5
TOP_K = long_search.RULES.search.top_k


class Instant(Experiment):
    """Takes the place of a server that answers at once, for its time is the server's."""

    def publish(self, entry: Entry, **_: Any) -> None:
        assert entry.is_candidate

    def runs(self, *, status: str | None = None, **tags: str) -> Iterator[MlflowRun]:
        yield from ()


class Times:
    """Seconds of this process by what they were spent on, as often as it was done."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = defaultdict(list)

    def clock(self, what: str, work: Callable[[], T]) -> T:
        value, seconds = long_search.clocked(work)
        self.of[what].append(seconds)
        return value


@pytest.fixture(scope="module")
def times(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Median seconds for each of five pairs after 10,000, half of which have weights here."""
    folder, times = tmp_path_factory.mktemp("long"), Times()
    long_search.make(folder, long_search.PAIRS)
    search, tracking = {"iterations": 20_000, "top_k": TOP_K}, {"keep_weights": "needed"}
    run = Run(parse({"name": "bccd_cpu", "seed": 47, "search": search, "tracking": tracking}), folder)
    records = run.records.all()
    for record in records[::2]:
        (run.records.path(record.pair.key) / WEIGHTS_FILE).touch()
    standing, climber, outbox = Standing(run.settings.score, records), _climber(records), Outbox(run)
    outbox.follow(standing)
    search_run = _search_run(run, Published(record.pair.key for record in records))
    assert outbox.send(search_run, trusting=True) is None
    publisher = cast("Publisher", SimpleNamespace(holds=lambda keys: frozenset()))
    dropping = Dropping(run, standing, long_search.RULES, publisher)

    def follow(record: PairRecord) -> None:
        graded = times.clock("grade and rank", lambda: standing.add(record))
        best = times.clock("top-k", lambda: standing.best(TOP_K))
        times.clock("text of the artifacts", lambda: _texts(run, standing, best))
        outbox.add(graded)
        times.clock("what to send", lambda: outbox.send(search_run, trusting=True))
        times.clock("what to drop", lambda: dropping.drop(climber, new=graded, best=best))
        times.clock("failures in a row", lambda: refuse_failures(standing, 10))

    for turn in range(TURNS):
        record = long_search.evaluated(_asked(climber), Random(turn))
        long_search.keep(record, folder)
        climber.tell(record)
        gc.collect()  # what the last turn left would fall on one of the figures that follow
        follow(record)
        assert outbox.fresh == turn + 1
    return {what: median(seconds) for what, seconds in times.of.items()}


def _climber(records: Sequence[PairRecord]) -> HillClimber:
    return HillClimber(long_search.RULES, records)


def _asked(climber: HillClimber) -> Pair:
    pair = climber.ask()
    assert pair is not None
    return pair


def _texts(run: Run, standing: Standing, best: Sequence[Graded]) -> tuple[object, object]:
    return artifacts.best_text(run, standing, best), artifacts.progress_of(run, standing)


def _search_run(run: Run, known: Published) -> SearchRun:
    """The search's run of which the server and the folder remember the same."""
    client = cast("MlflowClient", SimpleNamespace(set_tag=lambda *given: None))
    search_run = SearchRun(run, Instant(client, "1"), "id", known.mark)
    search_run.note(known)
    return search_run


def test_what_follows_a_record_costs_30_ms_at_the_most(times: dict[str, float], note: Note) -> None:
    for what, seconds in times.items():
        note(f"after a record, 10,000 pairs: {what}", 1000 * seconds, "ms")
    note("after a record, 10,000 pairs: together", 1000 * sum(times.values()), "ms", bound=30)
