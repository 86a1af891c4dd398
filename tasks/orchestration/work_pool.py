"""Evaluates pairs, and times students, by the workers of Prefect work pools: makes and follows flow runs.

Each evaluation is a run of the deployment of ``evaluate-pair``. Its record and weights come back through
MLflow. A flow run is named by the search, the pair and the number of the try, so a search that was killed
finds the runs that it had made; a run whose worker is lost is made again.
"""

from __future__ import annotations

import itertools
import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkPoolStatus
from prefect.deployments import run_deployment
from prefect.events.filters import EventFilter, EventResourceFilter
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY
from prefect.states import Cancelling, Crashed

from jdn_core.errors import InputMissing, JobFailed, ServiceUnavailable, UsageError
from jdn_core.processes.attempts import DEATHS
from jdn_core.processes.stopping import Stopped
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.run.identity import search_id
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.settings.search import TargetSettings
from tasks.orchestration import flow_run
from tasks.tracking import Publisher, fetch_result
from tasks.tracking.pages import links_of, tracking_uri, ui_command

T = TypeVar("T")
FLOW, TIMING = "evaluate-pair", "measure-latency"
_POLL = 0.5  # seconds between two requests for a run's state
_HEARTBEATS = 3  # that may be missing before a worker counts as lost
_BEGINNING = 900.0  # seconds that a worker may take to begin: it may have to pull an image first

logger = logging.getLogger(__name__)


def find_deployment(run: Run) -> UUID | None:
    """Finds the deployment that evaluates pairs on the settings' pool; None where they are evaluated here.

    Raises:
        UsageError: there is no server, of Prefect or MLflow, that workers elsewhere could reach.
        InputMissing: nothing is deployed on that pool.
    """
    if run.settings.search.evaluator == "local":
        return None
    return _deployment(run, FLOW, run.settings.search.work_pool, wants="search.evaluator work_pool")


def find_target(run: Run, target: TargetSettings) -> UUID | None:
    """Finds the deployment that times exported students on a target's pool; None where that is this machine.

    Raises:
        UsageError, InputMissing: as ``find_deployment`` does.
    """
    if target.work_pool is None:
        return None
    return _deployment(run, TIMING, target.work_pool, wants=f"target {target.name}")


def _deployment(run: Run, flow: str, pool: str, *, wants: str) -> UUID:
    needs = {
        "a Prefect server: set PREFECT_API_URL": PREFECT_API_URL.value(),
        "an MLflow server, for the weights: set MLFLOW_TRACKING_URI": not ui_command(tracking_uri(run)),
    }
    if missing := [need for need, is_there in needs.items() if not is_there]:
        what = f"{wants} needs {' and '.join(missing)}"
        raise UsageError(f"{what}; `jdn ui --with-worker` starts both")
    with get_client(sync_client=True) as client:
        found = client.read_deployments(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        )
    if not found:
        raise InputMissing(f"no deployment of {flow} on work pool {pool}; `jdn deploy` registers it")
    return found[0].id


class PoolRuns:
    """The runs of one deployment that one search has under way; use it as a context manager.

    They outlive a search that stops, and are found again when it goes on; but a search that was cancelled
    in the dashboard cancels them.

    Args:
        run: of the search.
        deployment: on a pool.
        pool: its name.
    """

    def __init__(self, run: Run, deployment: UUID, *, pool: str) -> None:
        self._run = run
        self._deployment = deployment
        self._pool = pool
        self._closing = threading.Event()
        self._under_way: set[UUID] = set()
        self._beat = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()

    def run(self, parameters: dict[str, Any], *, name: str, key: str) -> State:
        """Returns how a run ended, which is made again where its worker was lost, so many times.

        Args:
            parameters: of the flow.
            name: of the run.
            key: tells it from all other runs, so that a search that goes on finds those that it had made.

        Raises:
            ServiceUnavailable: Prefect does not answer.
            Stopped: the search ends.
        """
        self._insist(self._warn_of_no_worker)
        for number in range(DEATHS):
            state, _ = self.once(parameters, name=name, key=f"{key}-{number}")
            if not state.is_crashed():
                break
        return state

    def once(
        self, parameters: dict[str, Any], *, name: str, key: str, tags: Sequence[str] = ()
    ) -> tuple[State, bool]:
        """Returns how a run ended, and whether it is one of now: not one that an earlier process had lost."""
        tags = [f"search:{self._run.settings.name}", *tags]
        made = self._insist(
            lambda: cast(
                "FlowRun",  # in a thread without an event loop it is no coroutine
                run_deployment(
                    self._deployment,
                    parameters=parameters | {"tracking_uri": tracking_uri(self._run)},
                    timeout=0,
                    flow_run_name=name,
                    tags=tags,
                    idempotency_key=f"{search_id(self._run.folder)}-{key}",
                ),
            )
        )
        if made.state is not None and made.state.is_final():
            return made.state, False
        self._under_way.add(made.id)
        try:
            with get_client(sync_client=True) as client:
                return self._end(client, made.id), True
        finally:
            if not self._closing.is_set():
                self._under_way.discard(made.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._under_way and flow_run.is_cancelled():
            with get_client(sync_client=True) as client:
                for id_ in tuple(self._under_way):
                    client.set_flow_run_state(id_, Cancelling(message="the search was cancelled"))

    def _warn_of_no_worker(self) -> None:
        with get_client(sync_client=True) as client:
            if client.read_work_pool(self._pool).status is not WorkPoolStatus.READY:
                what = f"work pool {self._pool} has no worker, so this waits for one"
                logger.warning("%s: `prefect worker start --pool %s`", what, self._pool)

    def _end(self, client: SyncPrefectClient, id_: UUID) -> State:
        """Waits for a run's end; one whose worker sends nothing any more is declared crashed."""
        watch = _Watch(id_, beat=self._beat)

        def read() -> State | None:
            state = client.read_flow_run(id_).state
            if state is None or state.is_final():
                return state
            if silence := watch.too_long(client, state):
                lost: State = Crashed(message=f"no sign of its worker for {silence:.0f} s")
                client.set_flow_run_state(id_, lost, force=True)
            return None

        while (state := self._insist(read)) is None:
            self._pause(_POLL)
        return state

    def _insist(self, ask: Callable[[], T]) -> T:
        """Returns a server's answer, asked for again as long as the settings are patient.

        Raises:
            ServiceUnavailable: it does not answer.
        """
        patience = self._run.settings.tracking.patience
        begun = time.monotonic()
        while True:
            try:
                return ask()
            except ServiceUnavailable:
                if time.monotonic() - begun > patience:
                    raise
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
                    raise
                if time.monotonic() - begun > patience:
                    what = f"Prefect's server does not answer, for {patience:.0f} s"
                    raise ServiceUnavailable(f"{what}; start it again and resume the search") from error
            self._pause(1.0)

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise Stopped(signal.SIGTERM)


class PoolEvaluations(PoolRuns):
    """The runs of ``evaluate-pair`` that one search has under way; use it as a context manager.

    Args:
        run: of the search.
        publisher: sends to MLflow what a worker fetches.
        deployment: of ``evaluate-pair`` on the pool.
        base: key of pair 0.
    """

    def __init__(self, run: Run, publisher: Publisher, deployment: UUID, *, base: str) -> None:
        super().__init__(run, deployment, pool=run.settings.search.work_pool)
        self._publisher = publisher
        self._base = base

    def evaluate(self, pair: Pair) -> PairRecord:
        """Waits for the record of a pair, through as many tries as it takes.

        Raises:
            JobFailed: every try ended with an error that is not the pair's.
            ServiceUnavailable: Prefect or MLflow does not answer.
            Stopped: the search ends.
        """
        if found := self._run.records.get(pair.key):
            return found
        self._run.pair_work(pair.key).mkdir(parents=True, exist_ok=True)  # by which `jdn status` counts it
        self._await_inputs(pair)
        losses = 0
        for number in itertools.count():
            state, is_fresh = self._try(pair, number)
            if state.is_completed() and self._insist(lambda: fetch_result(self._run, pair)):
                break
            losses += is_fresh
            how = f"{state.name}: {state.message or 'nothing is known'}"
            if is_fresh:
                logger.warning("pair %d: %s, try %d of %d", pair.index, how, losses, DEATHS)
            if losses < DEATHS:
                self._pause(2.0**losses if is_fresh else 0.0)
                continue
            if state.is_failed():
                raise JobFailed(f"pair {pair.index} cannot be evaluated on {self._pool}: {state.message}")
            return steps.commit_failure(self._run, pair, f"crash_loop: {how}")
        record = self._run.records.get(pair.key)
        if record is None:
            raise RuntimeError(f"pair {pair.index} was fetched and is not there")
        return record

    def _await_inputs(self, pair: Pair) -> None:
        """Returns once MLflow holds what a worker fetches: the pool, the base's record and the parent's."""
        needed = {self._run.settings.pool.phases[-1].name, self._base, str(pair.parent)}
        patience = self._run.settings.tracking.patience
        since = time.monotonic()
        while not self._publisher.knows(needed):
            if not self._publisher.trouble:
                since = time.monotonic()
            elif time.monotonic() - since > patience:
                what = f"MLflow was not told what workers need, for {patience:.0f} s"
                raise ServiceUnavailable(f"{what}: {self._publisher.trouble}")
            self._pause(0.1)

    def _try(self, pair: Pair, number: int) -> tuple[State, bool]:
        """Does as ``once``, for a try of a pair."""
        links = links_of(self._run)
        return self.once(
            {"search_run": links.search_run if links else "", "pair": pair.to_json()},
            name=f"pair-{pair.index}-try-{number + 1}",
            key=f"{pair.key}-{number}",
            tags=[f"pair:{pair.index}"],
        )


class _Watch:
    """Notices that a run's newest event, such as a heartbeat, stays its newest for too long.

    Prefect 3.8 marks a run whose worker was killed by itself only where an automation does so.
    """

    def __init__(self, id_: UUID, *, beat: int | None) -> None:
        resource = EventResourceFilter(id=[f"prefect.flow-run.{id_}"])
        self._filter = EventFilter(resource=resource)
        self._beat = beat
        self._newest: UUID | None = None
        self._since = self._looked = time.monotonic()

    def too_long(self, client: SyncPrefectClient, state: State) -> float:
        """Returns seconds of silence, if a worker that began, or was about to, must be lost; else 0."""
        now = time.monotonic()
        if self._beat is None or state.type not in (StateType.RUNNING, StateType.PENDING):
            self._since = now
            return 0.0
        if now - self._looked < self._beat / 3:
            return 0.0
        self._looked = now
        events = client.read_events(self._filter, limit=1).events
        newest = events[0].id if events else None
        if newest != self._newest:
            self._newest, self._since = newest, now
        limit = float(_HEARTBEATS * self._beat)
        if state.type is StateType.PENDING:
            limit = max(limit, _BEGINNING)
        return now - self._since if now - self._since > limit else 0.0
