"""True: the whole upgrade at full size, driven by the core alone, with what time is left.

The steps are the core's own, from files to files, each in a worker; so is the loop that asks and tells. What
Prefect and MLflow add is not here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from jdn_core.detector.folder import load_detector
from jdn_core.evaluation.latency import measure
from jdn_core.processes.attempts import Failure, attempt, insist
from jdn_core.processes.workers import Workers
from jdn_core.run import assemble, steps
from jdn_core.run.folder import Run
from jdn_core.search import engine
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.standing import Graded, Standing
from tests.gpu import runs
from tests.gpu.findings import Findings, Numbers
from tests.gpu.runner import Setting


def upgrade(setting: Setting, findings: Findings) -> None:
    """Trains a base and a pool, and searches pairs, until it is done or the time is nearly over."""
    if setting.on_gpu and setting.data is None:
        findings.leave_out("the whole upgrade", "no dataset was named with --data")
        return
    run = runs.upgrade(setting, share=findings.seconds_left / max(1.0, setting.scale.upgrade_seconds))
    with runs.hired(setting, run.settings.search.workers) as workers:
        with _timed("train the base", findings):
            insist(workers, steps.ensure_base, run)
        for index, phase in enumerate(run.settings.pool.phases):
            with _timed(f"train the pool, {phase.name}", findings):
                insist(workers, steps.ensure_phase, run, index)
        with _timed("measure the base", findings):
            insist(workers, steps.ensure_base_record, run)
        standing = Standing(run.settings.score, run.records.all())
        base = standing.records[0].pair.key
        findings.measure("pair 0, the base", **_numbers(standing.graded(base)))
        with _timed("search", findings):
            _search(run, standing, workers, findings)
    (best,) = standing.best(1)
    for name, graded in {"base": standing.graded(base), "winner": best}.items():
        findings.measure(f"{name}, alone", **_numbers(graded), **_latency_alone(run, graded, setting))


def _search(run: Run, standing: Standing, workers: Workers, findings: Findings) -> None:
    """Climbs over pairs, each with its own line, as many as there is time for."""
    climber = HillClimber(assemble.climb_rules(run.settings), standing.records)
    iterations, count = run.settings.search.iterations, len(workers)
    begun, longest = time.monotonic(), 0.0
    with ThreadPoolExecutor(count) as threads:

        def submit(pair: Pair) -> engine.Pending:
            return threads.submit(_evaluate, run, pair, workers)

        climbing = engine.climb(climber, iterations=iterations, workers=count, submit=submit)
        for done, record in enumerate(climbing, start=1):
            graded = standing.add(record)
            findings.measure(f"pair {record.pair.index} {record.pair.action}", **_numbers(graded))
            longest = time.monotonic() - begun if done <= count else longest  # of a round of all workers
            if findings.seconds_left < 2 * longest and done < iterations:
                findings.leave_out(f"the pairs after {done}", "no time was left")
                break


def _evaluate(run: Run, pair: Pair, workers: Workers) -> PairRecord:
    """Evolves a pair's student, calibrates its teacher, and evaluates both; a failure is a record too."""
    student = attempt(workers, steps.make_student, run, pair)
    teacher = attempt(workers, steps.ensure_teacher, run, pair.teacher)
    if isinstance(student, Failure) or isinstance(teacher, Failure):
        return steps.commit_failure(run, pair, f"{student} {teacher}")
    record = attempt(workers, steps.ensure_record, run, pair, student, teacher)
    return steps.commit_failure(run, pair, record.reason) if isinstance(record, Failure) else record


def _numbers(graded: Graded) -> Numbers:
    """Returns AP, cost and latency of a pair at the resolution that it is ranked at."""
    record, grade = graded
    if record.evaluation is None or grade is None:
        return {"failed": record.reason}
    frame = str(grade.measurement.resolution)
    return {
        "frame": frame,
        "AP": grade.measurement.ap,
        "GMACs": grade.measurement.macs / 1e9,
        "latency_ms": record.evaluation.timing.latency_ms[frame],
        "H": grade.score,
        "training_s": record.evaluation.timing.train_seconds,
    }


def _latency_alone(run: Run, graded: Graded, setting: Setting) -> Numbers:
    """Measures a pair's latency again while nothing else computes: pairs are measured beside each other."""
    if graded.grade is None:
        return {}
    detector = load_detector(run.records.path(graded.record.pair.key), setting.device)
    return {"latency_alone_ms": measure(detector, graded.grade.measurement.resolution).median_ms}


@contextmanager
def _timed(stage: str, findings: Findings) -> Iterator[None]:
    begun = time.monotonic()
    yield
    findings.measure(stage, seconds=time.monotonic() - begun)
