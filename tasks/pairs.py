"""One step of the search each: mutate a pair, reset BN, evaluate fast, score with H, update the top-k."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.errors import CheckpointError, InputMissing, SearchFailed
from jdn_core.processes.attempts import Failure, attempt
from jdn_core.processes.workers import Workers
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.score import Grade
from jdn_core.search.standing import Standing
from jdn_core.space.teachers import SubnetSpec
from tasks import artifacts
from tasks.tracking import restore_files


@task(name="mutate pair", task_run_name="mutate pair {pair.index}: {pair.action}", cache_policy=NO_CACHE)
def mutate_pair(run: Run, pair: Pair, workers: Workers) -> Path | Failure:
    """The pair's student before its training: the parent's weights after the action (f_evolve).

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
    """The sampled teacher as a plain detector with statistics of its own; kept for later pairs."""
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


@task(name="score with H", task_run_name="score pair {record.pair.index} with H", cache_policy=NO_CACHE)
def score_pair(run: Run, record: PairRecord) -> Grade | None:
    """H of a pair at the resolution that it chooses; none for a failed pair."""
    return Standing(run.settings.score, run.records.all()).graded(record.pair.key).grade


@task(name="update top-k", cache_policy=NO_CACHE)
def update_top_k(run: Run) -> list[str]:
    """Keys of the best pairs, best first; the running table is shown in Prefect."""
    records = run.records.all()
    best = Standing(run.settings.score, records).best(run.settings.search.top_k)
    artifacts.publish_top_k(run, records)
    return [graded.record.pair.key for graded in best]


def refuse_more_failures(run: Run) -> None:
    """Raises SearchFailed where the newest pairs failed, too many in a row to go on."""
    most = run.settings.search.max_failures
    newest = run.records.all()[-most:]
    if len(newest) == most and all(record.state == "failed" for record in newest):
        reasons = "\n".join(f"pair {record.pair.index}: {record.reason}" for record in newest)
        raise SearchFailed(f"the last {most} pairs failed:\n{reasons}")
