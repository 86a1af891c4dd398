"""One step of the search each: mutate a pair, reset BN, evaluate fast, score with H, update the top-k."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.errors import CheckpointError, InputMissing
from jdn_core.processes.attempts import Failure, attempt
from jdn_core.processes.workers import Workers
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.standing import Graded, Standing
from jdn_core.space.teachers import SubnetSpec
from tasks.orchestration.artifacts import show_best
from tasks.orchestration.work_pool import PoolEvaluations
from tasks.tracking import restore_files


@task(name="mutate pair", task_run_name="mutate pair {pair.index}: {pair.action}", cache_policy=NO_CACHE)
def mutate_pair(run: Run, pair: Pair, workers: Workers) -> Path | Failure:
    """Makes the pair's student before its training: the parent's weights after the action (f_evolve).

    Weights that are damaged, or left for MLflow (``tracking.keep_weights``), are fetched from there.
    """
    try:
        return attempt(workers, steps.make_student, run, pair)
    except (CheckpointError, InputMissing):
        if not restore_files(run, str(pair.parent)):
            raise
        return attempt(workers, steps.make_student, run, pair)


@task(name="reset BN", task_run_name="reset BN of {subnet}", cache_policy=NO_CACHE)
def reset_bn(run: Run, subnet: SubnetSpec, workers: Workers) -> Path | Failure:
    """Makes the sampled teacher a plain detector with BN statistics of its own; kept for later pairs."""
    return attempt(workers, steps.ensure_teacher, run, subnet)


@task(name="fast-evaluate", task_run_name="fast-evaluate pair {pair.index}", cache_policy=NO_CACHE)
def fast_evaluate(
    run: Run, pair: Pair, student: Path | Failure, teacher: Path | Failure, workers: Workers
) -> PairRecord:
    """Trains the student under its teacher, measures it and commits the record; a failure is a record too."""
    if isinstance(student, Failure):
        return steps.commit_failure(run, pair, student.reason)
    if isinstance(teacher, Failure):
        return steps.commit_failure(run, pair, teacher.reason)
    record = attempt(workers, steps.ensure_record, run, pair, student, teacher)
    return steps.commit_failure(run, pair, record.reason) if isinstance(record, Failure) else record


@task(name="evaluate on a pool", task_run_name="evaluate pair {pair.index} on a pool", cache_policy=NO_CACHE)
def evaluate_on_pool(evaluations: PoolEvaluations, pair: Pair) -> PairRecord:
    """Waits for the record of a pair that some worker evaluates; a failure is a record too."""
    return evaluations.evaluate(pair)


@task(name="score with H", task_run_name="score pair {record.pair.index} with H", cache_policy=NO_CACHE)
def score_pair(standing: Standing, record: PairRecord) -> Graded:
    """Grades a pair by H at the resolution that it chooses, and ranks it among the others."""
    return standing.add(record)


@task(name="update top-k", cache_policy=NO_CACHE)
def update_top_k(run: Run, standing: Standing) -> tuple[Graded, ...]:
    """Returns the best pairs, best first, and shows them in Prefect."""
    best = standing.best(run.settings.search.top_k)
    show_best(run, standing, best)
    return best
