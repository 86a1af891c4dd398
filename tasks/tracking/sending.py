"""Sends a search to MLflow, beside the training and after it.

A search never waits for MLflow. A thread is handed each new pair and sends it; what an outage keeps back is
sent after it, and what a crash keeps back is found when the search is resumed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from jdn_core.reports import tables
from jdn_core.run.file_names import HEAD_FILES, SEARCH_FILE
from jdn_core.run.folder import Run
from jdn_core.run.outcome import Outcome
from jdn_core.search import phases
from jdn_core.search.latencies import FACTS_FILE
from jdn_core.search.standing import Graded, Standing
from tasks.tracking.entries import (
    PAIR_TAG,
    STAGE_TAG,
    Entry,
    Number,
    control_stages,
    finetuning_stages,
    of_control,
    of_finetuning,
    of_held_out,
    of_pair,
    of_stage,
    stages,
)
from tasks.tracking.fetching import fetch_records, holds_weights
from tasks.tracking.pages import FlowRun, shown, tracking_uri
from tasks.tracking.search_run import Published, SearchRun
from tasks.tracking.server import asking, reason

_PATIENCE = (1.0, 2.0, 4.0, 8.0, 10.0)  # seconds until the next attempt, after one, two ... failures
_FIRST_ANSWER = 10.0  # seconds that a resumed search waits for a server to answer at all

logger = logging.getLogger(__name__)


class Publication(NamedTuple):
    """How much MLflow has of a search: runs that are there, runs that are not, and the error in the way.

    ``fresh`` of the runs that are there were sent by this publisher or this ``sync``.
    """

    sent: int
    missing: int
    error: str = ""
    fresh: int = 0


def sync(run: Run, *, state: str) -> Publication:
    """Sends all that MLflow does not have, and leaves the search's run in ``state``.

    All that is there is listed first, so that a run which someone deleted is sent again.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    outbox = Outbox(run)
    records = run.records.all()
    if records and records[0].pair.index == 0:  # without the base's record no pair can be graded
        outbox.follow(Standing(run.settings.score, records))
    with asking(tracking_uri(run)):
        search_run = SearchRun.open(run)
        error = outbox.send(search_run, trusting=False)
        search_run.end(state)
    return outbox.publication(reason(error) if error else "")


def send_pair(run: Run, search_run_id: str, key: str) -> None:
    """Sends the record of one pair, with its files, from a worker's folder to the search's run.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    standing = Standing(run.settings.score, run.records.all())
    search_run = SearchRun.of_id(run, search_run_id, tracking_uri(run))
    with asking(tracking_uri(run)):
        _publish(search_run, _entry(run, standing, standing.graded(key)))


class Publisher:
    """A thread that sends what is new; nothing that fails here reaches the search.

    Use it as a context manager, or call ``finish`` at the end. It sends the trainings before the search by
    itself, and the pairs of the standing that it is given.

    Args:
        run: the search's folder and its settings.
        flow_run: in Prefect, that runs the search.
        patience: seconds until the next attempt after one, two ... failures in a row.
    """

    def __init__(
        self, run: Run, *, flow_run: FlowRun | None = None, patience: Sequence[float] = _PATIENCE
    ) -> None:
        self._run = run
        self._flow_run = flow_run
        self._patience = patience
        self._outbox = Outbox(run)
        self._error = ""
        self._ending: str | None = None  # the state that the search's run will end in
        self._unverified: frozenset[str] = frozenset()  # pairs whose weights may go once MLflow holds them
        self._held: frozenset[str] = frozenset()  # pairs whose weights MLflow was seen to hold
        self._answered, self._restored = threading.Event(), threading.Event()
        if not (run.folder / SEARCH_FILE).is_file():  # MLflow has nothing of it, so nothing can be fetched
            self._restored.set()
        self._news = threading.Event()
        self._news.set()
        self._thread = threading.Thread(target=self._work, name="jdn-mlflow", daemon=True)
        self._thread.start()

    def follow(self, standing: Standing) -> None:
        """Sends every pair of a search that MLflow does not have; later ones are given to ``add``."""
        self._outbox.follow(standing)
        self._news.set()

    def add(self, graded: Graded) -> None:
        """Sends a pair that was added to the standing; returns at once."""
        self._outbox.add(graded)
        self._news.set()

    def look(self) -> None:
        """Sends what is new of base, pool and report; returns at once."""
        self._news.set()

    def await_restored(self) -> None:
        """Waits until the records that only MLflow had are in the folder; not for a server that is silent."""
        if not self._restored.is_set() and self._answered.wait(_FIRST_ANSWER):
            self._restored.wait()

    def holds(self, keys: Collection[str]) -> frozenset[str]:
        """Returns those pairs whose weights MLflow was seen to hold, hash by hash.

        Returns at once; the others are downloaded and hashed afterwards, for a later call.
        """
        self._unverified = frozenset(keys) - self._held
        if self._unverified:
            self._news.set()
        return self._held & frozenset(keys)

    def knows(self, identities: Collection[str]) -> bool:
        """Returns whether MLflow holds these runs whole, by the names of stages and the keys of pairs."""
        return self._outbox.known.issuperset(identities)

    @property
    def publication(self) -> Publication:
        """Returns how much MLflow has by now."""
        return self._outbox.publication(self._error)

    @property
    def trouble(self) -> str:
        """Returns the error that keeps runs from MLflow; empty where there is none."""
        return self._error

    def finish(self, state: str = "finished", *, timeout: float = 60.0) -> Publication:
        """Sends the rest and ends the search's run in MLflow; waits ``timeout`` seconds at the most.

        Calling it again changes nothing. What could not be sent is on the disk; ``jdn sync`` sends it later.
        """
        if self._ending is None:
            self._ending = state
            self._news.set()
        self._thread.join(timeout)
        if self._thread.is_alive() or self._error:
            logger.warning(
                "MLflow at %s does not have everything (%s); `jdn sync %s` sends the rest",
                shown(tracking_uri(self._run)), self._error or "it is slow", self._run.folder,
            )  # fmt: skip
        return self._outbox.publication(self._error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish("finished" if kind is None else "interrupted", timeout=60.0 if kind is None else 3.0)

    def _work(self) -> None:
        """Runs in the thread: sends what is new and waits for more; after failures it waits longer."""
        failures = 0
        search_run: SearchRun | None = None
        while True:
            self._news.wait(self._patience[min(failures, len(self._patience)) - 1] if failures else None)
            self._news.clear()
            ending, before = self._ending, self._outbox.fresh
            try:
                search_run = search_run or SearchRun.open(self._run, flow_run=self._flow_run)
                self._exchange(search_run)
                if ending is not None:
                    search_run.end(ending)
                failures, self._error = 0, ""
            except Exception as error:  # whatever MLflow, its database or the network can raise
                failures = 1 if self._outbox.fresh > before else failures + 1
                search_run = None
                self._warn(error)
            finally:
                self._restored.set()
                self._answered.set()
            if ending is not None and (not failures or failures > 1):
                return

    def _exchange(self, search_run: SearchRun) -> None:
        """Fetches, the first time, what the folder lacks; sends what is new; verifies weights that may go."""
        self._answered.set()
        if not self._restored.is_set():
            fetch_records(search_run)
            self._restored.set()
        refusal = self._outbox.send(search_run, trusting=True)
        for key in sorted(key for key in self._unverified if key in self._outbox.known):
            if holds_weights(search_run, key):
                self._held |= {key}
            self._unverified -= {key}
        if refusal:
            raise refusal

    def _warn(self, error: Exception) -> None:
        text = reason(error)
        if text != self._error:
            logger.warning("sending to MLflow failed: %s", text)
        self._error = text


class Outbox:
    """What MLflow holds of a search, as far as is known, and what waits to be sent.

    The search's thread adds pairs; one other thread sends. Pairs wait in a dict, on which both may work: each
    of its methods that is used here is atomic in CPython.
    """

    def __init__(self, run: Run) -> None:
        self.known = Published()
        self.fresh = 0
        self._run = run
        self._standing: Standing | None = None
        self._waiting: dict[str, Graded] = {}
        self._stages = 0  # trainings before the search that are there and were not sent
        self._uploaded: dict[Path, int] = {}  # file below the folder -> its time of change when it was sent
        self._unnoted: list[str] = []  # identities that were sent since the last note
        self._told = ""  # key of the held-out numbers that were sent
        self._to = ""  # id of the search's run; of another one nothing is known

    def follow(self, standing: Standing) -> None:
        self._standing = standing
        for record in standing.records:
            self.add(standing.graded(record.pair.key))

    def add(self, graded: Graded) -> None:
        if (key := graded.record.pair.key) not in self.known:
            self._waiting[key] = graded

    def send(self, search_run: SearchRun, *, trusting: bool) -> Exception | None:
        """Sends all that waits; what one run was refused for, if the others could be sent.

        Args:
            search_run: of the search.
            trusting: whether what both sides remember is believed, or all runs are listed.
        """
        if search_run.id != self._to:
            self._begin(search_run, trusting=trusting)
        _send_files(search_run, self._uploaded)
        refusals = [*self._send_stages(search_run), *self._send_pairs(search_run)]
        refusals += self._send_controls(search_run)
        refusals += self._send_finetunings(search_run)
        _send_assessments(search_run, self._uploaded)
        if self._run.settings.targets or not trusting:
            _send_latencies(search_run, self._uploaded)
        if self._unnoted:
            search_run.note(self.known, self._unnoted)
            self._unnoted = []
        return refusals[-1] if refusals else None

    def publication(self, error: str) -> Publication:
        return Publication(len(self.known), self._stages + len(self._waiting), error, self.fresh)

    def _begin(self, search_run: SearchRun, *, trusting: bool) -> None:
        known = search_run.remembered() if trusting else None
        if known is None:
            known = search_run.listed()
            search_run.note(known)
        self.known, self._unnoted, self._uploaded, self._to = known, [], {}, search_run.id
        self._told = ""
        if self._standing is not None:
            self.follow(self._standing)

    def _send_stages(self, search_run: SearchRun) -> Iterator[Exception]:
        """Sends base and pool, as far as they are there; gives the refusals."""
        name = self._run.settings.name
        there = [
            stage for stage in stages(self._run) if stage.folder.is_dir() and stage.name not in self.known
        ]
        self._stages = len(there)
        for stage in there:
            yield from self._try(search_run, of_stage(stage, search=name))
            self._stages -= stage.name in self.known

    def _send_pairs(self, search_run: SearchRun) -> Iterator[Exception]:
        """Sends the pairs that wait; gives the refusals."""
        standing = self._standing
        if standing is None:
            return
        for key, graded in tuple(self._waiting.items()):
            if key not in self.known:
                yield from self._try(search_run, _entry(self._run, standing, graded))
            if key in self.known:
                del self._waiting[key]

    def _send_controls(self, search_run: SearchRun) -> Iterator[Exception]:
        """Sends what was trained beside the winner, and the held-out numbers; gives the refusals."""
        if self._standing is None or not self._run.held_out.parent.is_dir():
            return
        outcome = Outcome(self._run, self._standing)
        there = control_stages(outcome)
        for stage, record in there.items():
            if stage.name not in self.known:
                yield from self._try(search_run, of_control(stage, record, outcome))
        if (found := outcome.held_out) and self._told != found.key:
            finished = max(each.evaluation.timing.finished for each in outcome.entrants)
            search_run.experiment.numbers(search_run.id, of_held_out(found), round(finished * 1000))
            self._told = found.key

    def _send_finetunings(self, search_run: SearchRun) -> Iterator[Exception]:
        """Sends what was trained on after the search; gives the refusals."""
        for stage, record in finetuning_stages(self._run).items():
            if stage.name not in self.known:
                pair = search_run.child(PAIR_TAG, record.tuning.pair) if record.tuning.pair else None
                pair_run = pair.info.run_id if pair else ""
                yield from self._try(search_run, of_finetuning(stage, record, pair_run=pair_run))

    def _try(self, search_run: SearchRun, entry: Entry) -> Iterator[Exception]:
        """Sends one run; gives the error for which it was refused.

        Raises:
            Exception: the server does not answer, so that the others need not be tried.
        """
        try:
            _publish(search_run, entry)
        except Exception as error:  # one run that is refused must not keep the others back
            search_run.experiment.check()
            yield error
        else:
            _, identity = entry.identity
            self.known.add(identity)
            self._unnoted.append(identity)
            self.fresh += 1


def _entry(run: Run, standing: Standing, graded: Graded) -> Entry:
    row = tables.row(graded, standing, run.folder)
    return of_pair(graded.record, row, run.records.path(graded.record.pair.key))


def _publish(search_run: SearchRun, entry: Entry) -> None:
    dataset = search_run.datasets().get("validation")
    search_run.experiment.publish(entry, parent=search_run.id, dataset=dataset)


def _send_files(search_run: SearchRun, uploaded: dict[Path, int]) -> None:
    """Sends settings, identity, fingerprint, report and figures, each again when it has changed.

    Args:
        search_run: of the search.
        uploaded: file -> its time of change when it was sent; what is sent now is added.
    """
    folder = search_run.run.folder
    held_out = search_run.run.held_out
    for path in (*(folder / name for name in HEAD_FILES), held_out, *sorted((folder / "report").rglob("*"))):
        if path.is_file() and uploaded.get(path) != (changed := path.stat().st_mtime_ns):
            place = path.relative_to(folder).parent.as_posix()
            client = search_run.experiment.client
            client.log_artifact(search_run.id, str(path), None if place == "." else place)
            uploaded[path] = changed


def _send_assessments(search_run: SearchRun, sent: dict[Path, int]) -> None:
    """Sends the AP of subnets after each phase to the phase's run and, as a curve, to the search's.

    They have the time at which the phase's run ended, so sending them twice changes nothing.
    """
    run = search_run.run
    for index, phase in enumerate(run.settings.pool.phases):
        file = run.assessment(index)
        if not file.is_file() or sent.get(file) == (changed := file.stat().st_mtime_ns):
            continue
        assessment, found = phases.read(file), search_run.child(STAGE_TAG, phase.name)
        if assessment and found:
            numbers = [Number(name, ap, index) for name, ap in phases.mean_aps(assessment).items()]
            for run_id in (found.info.run_id, search_run.id):
                search_run.experiment.numbers(run_id, numbers, found.info.end_time)
            sent[file] = changed


def _send_latencies(search_run: SearchRun, sent: dict[Path, int]) -> None:
    """Sends what targets have measured to the runs of the pairs; a pair may be timed after it was sent."""
    for record in search_run.run.records.all():
        file = search_run.run.records.path(record.pair.key) / FACTS_FILE
        if record.evaluation is None or not record.evaluation.latency:
            continue
        if sent.get(file) == (changed := file.stat().st_mtime_ns):
            continue
        if found := search_run.child(PAIR_TAG, record.pair.key):
            run_id, numbers = found.info.run_id, record.evaluation.latency
            search_run.experiment.client.log_artifact(run_id, str(file))
            told = [Number(f"latency_ms_{target}", ms) for target, ms in numbers.items()]
            search_run.experiment.numbers(run_id, told, found.info.end_time)
            sent[file] = changed
