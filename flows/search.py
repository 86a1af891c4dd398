"""The search over student-teacher pairs, with a base and a pool that are trained already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.futures import PrefectFuture

from flows.launch.opening import hired, opened, require_room
from jdn_core.processes.progress import report
from jdn_core.processes.workers import Workers
from jdn_core.run import assemble
from jdn_core.run.folder import Run
from jdn_core.search import engine
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.settings.whole import Settings
from tasks import orchestrator
from tasks.base import evaluate_base
from tasks.data import check_data
from tasks.evaluations import Evaluations, evaluate_on_pool, find_deployment
from tasks.orchestrator import flow_run
from tasks.pairs import fast_evaluate, mutate_pair, refuse_more_failures, reset_bn, score_pair, update_top_k
from tasks.pool import check_pool
from tasks.reports import draw_figures, summarise, write_report
from tasks.retention import forget_weights
from tasks.tracking import Publisher

Submit = Callable[[Pair], PrefectFuture[PairRecord]]


@flow(name="search", validate_parameters=False)
def search(settings: Settings, out: Path) -> dict[str, Any]:
    """Searches in a folder whose ``base`` and ``pool`` are trained; goes on where its records end."""
    with (
        opened(settings, out) as run,
        Publisher(run, flow_run=flow_run()) as publisher,
        hired(settings) as workers,
    ):
        deployment = find_deployment(run)
        check_data(run)
        require_room(run)
        return climb(run, publisher, workers, deployment)


def climb(run: Run, publisher: Publisher, workers: Workers, deployment: UUID | None) -> dict[str, Any]:
    """Algorithm 1, several pairs at a time, then the report; what is recorded already is not done again."""
    publisher.restored()
    check_pool(run)
    evaluate_base(run, workers)
    records, iterations = run.records.all(), run.settings.search.iterations
    climber = HillClimber(assemble.climb_rules(run.settings), records)
    with evaluator(run, publisher, workers, deployment) as submit:
        climbing = engine.climb(
            climber, iterations=iterations, workers=run.settings.search.workers, submit=submit
        )
        for told, record in enumerate(climbing, start=len(records)):
            score_pair(run, record)
            update_top_k(run)
            draw_figures(run)
            publisher.records()
            forget_weights(run, climber, publisher)
            report("search", told, iterations, record.pair.action)
            refuse_more_failures(run)
    write_report(run)
    run.forget_work()
    return summarise(run)


@contextmanager
def evaluator(run: Run, publisher: Publisher, workers: Workers, deployment: UUID | None) -> Iterator[Submit]:
    """Gives what begins the evaluation of a pair: here, or by the deployment on a work pool."""

    def here(pair: Pair) -> PrefectFuture[PairRecord]:
        orchestrator.require(run.settings.tracking.patience)
        student = mutate_pair.submit(run, pair, workers)
        teacher = reset_bn.submit(run, pair.teacher, workers)
        return fast_evaluate.submit(run, pair, student, teacher, workers)  # type: ignore[call-overload]

    if deployment is None:
        yield here
        return
    with Evaluations(run, publisher, deployment) as evaluations:

        def there(pair: Pair) -> PrefectFuture[PairRecord]:
            orchestrator.require(run.settings.tracking.patience)
            return evaluate_on_pool.submit(evaluations, pair)

        yield there
