"""One step of the search each: mutate a pair, reset BN, evaluate fast, score with H, update the top-k."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core import assemble, durable, stages
from jdn_core.detector.build import Detector
from jdn_core.detector.folder import load_detector, save_detector
from jdn_core.errors import Diverged, SearchFailed
from jdn_core.morphism.evolve import evolve
from jdn_core.pool.folder import load_pool
from jdn_core.reports.examples import write_detections
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.score import Base, Grade, Scorer
from jdn_core.search.top_k import top_k
from jdn_core.space import actions
from jdn_core.space.teachers import SubnetSpec
from tasks import artifacts
from tasks.run import Run

DETECTIONS_FILE = "detections.png"


@task(name="mutate pair", task_run_name="mutate pair {pair.index}: {pair.action}", cache_policy=NO_CACHE)
def mutate_pair(run: Run, pair: Pair) -> Path:
    """The pair's student before its training: the parent's weights after the action (f_evolve)."""
    parent = load_detector(run.records.path(str(pair.parent)))
    is_students = not pair.action.startswith("teacher:")
    student = evolve(parent, actions.parse(pair.action)) if is_students else parent
    folder = run.bench(pair.key) / "student"
    save_detector(student, folder)
    return folder


@task(name="reset BN", task_run_name="reset BN of {subnet}", cache_policy=NO_CACHE)
def reset_bn(run: Run, subnet: SubnetSpec) -> Path:
    """The sampled teacher as a plain detector with statistics of its own; kept for later pairs."""
    folder = run.teacher(subnet)
    if not folder.is_dir():
        bench = assemble.bench(run.settings)
        images = run.settings.pool.calibration_images
        teacher = stages.calibrated_teacher(load_pool(run.pool), subnet, bench, images=images)
        staged = durable.stage_folder(folder)
        save_detector(teacher, staged)
        durable.commit_folder(staged, folder)
    return folder


@task(name="fast-evaluate", task_run_name="fast-evaluate pair {pair.index}", cache_policy=NO_CACHE)
def fast_evaluate(run: Run, pair: Pair, student: Path, teacher: Path) -> PairRecord:
    """Trains the student under its teacher, measures it and commits the record; a failure is a record too."""
    bench = assemble.bench(run.settings)
    detector = load_detector(student, bench.device)
    try:
        training = stages.fast_evaluation(
            detector,
            load_detector(teacher, bench.device),
            bench,
            stream=bench.stream.child("pair", pair.index),
            regime=run.settings.evaluation,
            distillation=run.settings.distillation,
            checkpoints=run.checkpoints("pairs", pair.key),
        )
        record = commit_evaluation(run, pair, detector, training)
    except Diverged as error:
        record = _commit_failure(run, pair, f"nan: {error.place}")
    except torch.OutOfMemoryError as error:
        record = _commit_failure(run, pair, f"oom: {error}")
    _forget(run, pair)
    return record


@task(name="score with H", task_run_name="score pair {record.pair.index} with H", cache_policy=NO_CACHE)
def score_pair(run: Run, record: PairRecord) -> Grade | None:
    """H of a pair at the resolution that it chooses; none for a failed pair."""
    return scorer(run).grade(record.evaluation) if record.evaluation else None


@task(name="update top-k", cache_policy=NO_CACHE)
def update_top_k(run: Run) -> list[str]:
    """Keys of the best pairs, best first; the running table is shown in Prefect."""
    records = run.records.all()
    best = top_k(records, scorer(run), run.settings.search.top_k)
    artifacts.publish_top_k(run, records)
    return [record.pair.key for record in best]


def refuse_more_failures(run: Run) -> None:
    """Raises SearchFailed where the newest pairs failed, too many in a row to go on."""
    most = run.settings.search.max_failures
    newest = run.records.all()[-most:]
    if len(newest) == most and all(record.state == "failed" for record in newest):
        reasons = "\n".join(f"pair {record.pair.index}: {record.reason}" for record in newest)
        raise SearchFailed(f"the last {most} pairs failed:\n{reasons}")


def scorer(run: Run) -> Scorer:
    """H under the run's settings, relative to its base."""
    base = next(record.evaluation for record in run.records.all() if record.pair.index == 0)
    if base is None:
        raise RuntimeError("pair 0 has no evaluation")
    return Scorer(assemble.score_rule(run.settings), Base.of(base))


def commit_evaluation(run: Run, pair: Pair, detector: Detector, training: stages.Training) -> PairRecord:
    """Measures a trained student and makes it a record, with its files and a few pictures."""
    bench, settings = assemble.bench(run.settings), run.settings
    staged = run.records.staging(pair.key)
    written = save_detector(detector, staged)
    rules = stages.EvaluationRules(
        settings.evaluation.latency_warmup, settings.evaluation.latency_repeats, settings.search.prune_shares
    )
    evaluation = stages.evaluation(detector, bench, weights=written.sha256, training=training, rules=rules)
    if photos := settings.tracking.preview_images:
        write_detections(detector, bench.val.dataset, photos, staged / DETECTIONS_FILE)
    return _commit(run, PairRecord(pair, "done", evaluation), staged)


def _commit_failure(run: Run, pair: Pair, reason: str) -> PairRecord:
    return _commit(run, PairRecord(pair, "failed", reason=reason), run.records.staging(pair.key))


def _commit(run: Run, record: PairRecord, staged: Path) -> PairRecord:
    records = run.records
    records.commit(record, staged)
    kept = records.get(record.pair.key)
    if kept is None:
        raise RuntimeError(f"pair {record.pair.index} was committed and is not there")
    return kept


def _forget(run: Run, pair: Pair) -> None:
    """Drops what only the evaluation needed."""
    shutil.rmtree(run.bench(pair.key), ignore_errors=True)
    shutil.rmtree(run.folder / "work" / "checkpoints" / "pairs" / pair.key, ignore_errors=True)
