"""The search over student-teacher pairs, with a base and a pool that are trained already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.futures import PrefectFuture

from flows.console import say
from flows.launch.opening import hired, opened, require_room
from jdn_core.processes.progress import report
from jdn_core.processes.workers import Workers
from jdn_core.run import assemble, teacher_caution
from jdn_core.run.checks import refuse_failures
from jdn_core.run.estimates import clocked
from jdn_core.run.folder import Run
from jdn_core.run.report import summary
from jdn_core.search import engine
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.standing import Standing
from jdn_core.settings.search import TargetSettings
from jdn_core.settings.whole import Settings
from tasks.base import evaluate_base
from tasks.controls import measure_held_out, train_control
from tasks.data import check_data
from tasks.latency import Stopwatch, measure_control_latency, measure_latency
from tasks.orchestration import flow_run
from tasks.orchestration.work_pool import PoolEvaluations, PoolRuns, find_deployment, find_target
from tasks.pairs import evaluate_on_pool, fast_evaluate, mutate_pair, reset_bn, score_pair, update_top_k
from tasks.pool import check_pool
from tasks.reports import draw_figures, write_report
from tasks.tracking import Publisher
from tasks.tracking.dropping import Dropping
from tasks.tracking.pages import where

Submit = Callable[[Pair], PrefectFuture[PairRecord]]


@flow(name="search", validate_parameters=False)
def search(settings: Settings, out: Path) -> dict[str, Any]:
    """Searches in a folder whose ``base`` and ``pool`` are trained; goes on where its records end."""
    with (
        opened(settings, out) as run,
        Publisher(run, flow_run=flow_run.current()) as publisher,
        hired(settings) as workers,
    ):
        deployment = find_deployment(run)
        check_data(run)
        require_room(run)
        found = climb(run, publisher, workers, deployment)
    return with_publication(found, publisher)


def with_publication(found: dict[str, Any], publisher: Publisher) -> dict[str, Any]:
    """Adds what MLflow was not told, once the publisher has ended, to a search's summary."""
    done = publisher.publication
    return found | {"mlflow": found["mlflow"] | {"missing": done.missing, "error": done.error or None}}


def climb(run: Run, publisher: Publisher, workers: Workers, deployment: UUID | None) -> dict[str, Any]:
    """Runs Algorithm 1, several pairs at a time, then the report; what is recorded is not done again.

    Args:
        run: with a base and a pool.
        publisher: sends the pairs to MLflow.
        workers: evaluate the pairs, unless a deployment does.
        deployment: of ``evaluate-pair``, where a work pool evaluates.
    """
    publisher.await_restored()
    check_pool(run)
    evaluate_base(run, workers)
    with stopwatch(run, workers) as watch:
        return _climb(run, publisher, workers, deployment, watch)


def _climb(
    run: Run, publisher: Publisher, workers: Workers, deployment: UUID | None, watch: Stopwatch | None
) -> dict[str, Any]:
    if watch is not None:  # a search that was killed may have a pair that nobody has timed
        for record in run.records.all():
            measure_latency(watch, record)
    standing, rules = Standing(run.settings.score, run.records.all()), assemble.climb_rules(run.settings)
    publisher.follow(standing)
    if said := teacher_caution.caution(run, standing):
        say(f"caution: {said}")
    climber, dropping = HillClimber(rules, standing.records), Dropping(run, standing, rules, publisher)
    with clocked(run, "pairs"), evaluator(run, standing, publisher, workers, deployment) as evaluate:
        submit = evaluate if watch is None else timed(evaluate, watch)
        limits = run.settings.search
        for record in engine.climb(
            climber, iterations=limits.iterations, workers=limits.workers, submit=submit
        ):
            graded = score_pair(standing, record)
            best = update_top_k(run, standing)
            draw_figures(run, standing)
            publisher.add(graded)
            dropping.drop(climber, new=graded, best=best)
            report("search", len(standing) - 1, limits.iterations, record.pair.action)
            refuse_failures(standing, limits.max_failures)
    with clocked(run, "controls"):
        contend(run, standing, workers, watch)
    write_report(run, standing)
    run.forget_work()
    return summary(run, standing) | {"mlflow": where(run)}


def contend(run: Run, standing: Standing, workers: Workers, watch: Stopwatch | None = None) -> None:
    """Trains what is to stand beside the winner, then looks at the photos that the search never saw."""
    wanted = assemble.contenders(run.settings, standing)
    for future in [train_control.submit(run, each, workers) for each in wanted]:
        record = future.result()
        if watch is not None:
            measure_control_latency(watch, record)
    if run.settings.data.holdout:
        measure_held_out(run, workers)


@contextmanager
def evaluator(
    run: Run, standing: Standing, publisher: Publisher, workers: Workers, deployment: UUID | None
) -> Iterator[Submit]:
    """Gives what begins the evaluation of a pair: here, or on the work pool of the deployment."""

    def here(pair: Pair) -> PrefectFuture[PairRecord]:
        flow_run.await_server(run.settings.tracking.patience)
        student = mutate_pair.submit(run, pair, workers)
        teacher = reset_bn.submit(run, pair.teacher, workers)
        return fast_evaluate.submit(run, pair, student, teacher, workers)  # type: ignore[call-overload]

    if deployment is None:
        yield here
        return
    base = standing.records[0].pair.key
    with PoolEvaluations(run, publisher, deployment, base=base) as evaluations:

        def there(pair: Pair) -> PrefectFuture[PairRecord]:
            flow_run.await_server(run.settings.tracking.patience)
            return evaluate_on_pool.submit(evaluations, pair)

        yield there


@contextmanager
def stopwatch(run: Run, workers: Workers) -> Iterator[Stopwatch | None]:
    """Gives what times the students of a search whose cost is their latency; none for any other."""
    if run.settings.score.cost != "latency":
        yield None
        return
    with timing(run, run.settings.target(str(run.settings.score.target)), workers) as watch:
        yield watch


@contextmanager
def timing(run: Run, target: TargetSettings, workers: Workers) -> Iterator[Stopwatch]:
    """Gives what times students on a target: here, or on its work pool."""
    deployment = find_target(run, target)
    if deployment is None:
        yield Stopwatch(run, target, workers)
        return
    with PoolRuns(run, deployment, pool=str(target.work_pool)) as runs:
        yield Stopwatch(run, target, workers, runs)


def timed(evaluate: Submit, watch: Stopwatch) -> Submit:
    """Returns what begins an evaluation that ends with the latency of its student."""

    def submit(pair: Pair) -> PrefectFuture[PairRecord]:
        return measure_latency.submit(watch, evaluate(pair))  # type: ignore[call-overload]

    return submit
