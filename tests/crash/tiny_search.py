"""A whole search that takes a second, and how a process goes on with it: all is real but for Prefect."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from pathlib import Path

from flows.inputs import settings_file
from jdn_core.data.shapes import generate
from jdn_core.processes import stopping
from jdn_core.run import assemble, controls, finetuning, outcome, steps
from jdn_core.run.file_names import FINGERPRINT_FILE, SETTINGS_FILE
from jdn_core.run.fingerprint import fingerprint, require_same
from jdn_core.run.folder import Run
from jdn_core.search import engine
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tasks.tracking import Publisher
from tests.tiny_run import tiny_settings

ITERATIONS = 2
SEED = 8  # its second pair is pruned
MOST_MACS = 684_039.0  # one less than the base has at the smaller frame
_TRAINING = {"epochs": 2, "batch": 4, "lr": 0.02}
_LINEAGE = {**_TRAINING, "schedule": "constant", "average": 1.0}  # leaves a trunk behind too
_SPACE = {
    "depths": [[1, 1], [1, 2], [1, 1], [1, 1]],
    "widths": [1.0, 1.5],
    "width": 0.0625,
    "neck": 8,
    "head": 8,
}
_FEW = {"train_proposals": [20, 10], "proposals": [10, 5], "rois_per_image": 8}


def draw_data(folder: Path) -> None:
    """Eight photos for training and two for validation."""
    generate(folder, images=10, size=64, seed=0)


def settings_of(data: Path) -> Settings:
    """Two steps an epoch, two epochs a training, two phases, two pairs, about 55,000 parameters.

    Nothing is learned in so few steps, so a bound decides who wins: the base breaks it and a pruned pair not.
    """
    supernet = {"name": "supernet", **_TRAINING}
    shrink = {"name": "shrink", **_TRAINING, "depths": _SPACE["depths"], "widths": _SPACE["widths"]}
    return tiny_settings(
        data,
        iterations=ITERATIONS,
        seed=SEED,
        data={"resolutions": ["32x32", "48x48"], "holdout": 0.3},
        detector={"width": 0.0625, "neck": 8, "head": 8, **_FEW},
        base=_LINEAGE,
        pool={"space": _SPACE, "calibration_images": 8, "phases": [supernet, shrink]},
        evaluation={**_LINEAGE, "latency_warmup": 0, "latency_repeats": 1},
        search={"controls": ["longer", "distilled", "scaled"], "finish": 0.1},
        score={"max_macs": MOST_MACS},
        tracking={"preview_images": 0},
    )


def go_on(settings: Settings, folder: Path, *, until: str = "end") -> None:
    """What ``jdn resume`` does, from wherever the folder's work ends.

    Args:
        settings: of the search.
        folder: of the search.
        until: ``base``, ``pool``, ``pair``, the first one, ``pairs`` or ``end``: end well after it;
            ``tuned``: a fine-tuning after it, ``whole``: both.
    """
    signal.signal(signal.SIGTERM, lambda number, _: stopping.request(number))
    run = Run(settings, folder)
    with durable.own(folder):
        durable.clean_leftovers(folder)
        durable.write_bytes(folder / SETTINGS_FILE, settings_file.dump(settings).encode())
        require_same(folder / FINGERPRINT_FILE, fingerprint(settings))
        if until != "tuned":  # whose checkpoints the end of a search would drop
            _search(run, until)
        if until in ("tuned", "whole"):
            tuning = finetuning.wanted(run, index=None, epochs=2, alone=False)
            finetuning.ensure_finetuned(run, tuning)
        stopping.check()


def _search(run: Run, until: str) -> None:
    with Publisher(run) as publisher:
        steps.ensure_base(run)
        if until != "base":
            _train_pool(run, publisher)
        if until not in ("base", "pool"):
            _climb(run, publisher, 1 if until == "pair" else ITERATIONS)
        if until not in ("base", "pool", "pair", "pairs"):
            _finish(run)
        if until not in ("base", "pool", "pair"):
            run.forget_work()
        stopping.check()


def best(run: Run) -> list[str]:
    """Keys of the best pairs, best first."""
    standing = Standing(run.settings.score, run.records.all())
    return [graded.record.pair.key for graded in standing.best(run.settings.search.top_k)]


def _train_pool(run: Run, publisher: Publisher) -> None:
    for index in range(len(run.settings.pool.phases)):
        publisher.look()
        stopping.check()
        steps.ensure_phase(run, index)


def _climb(run: Run, publisher: Publisher, iterations: int) -> None:
    stopping.check()
    steps.ensure_base_record(run)
    standing = Standing(run.settings.score, run.records.all())
    publisher.follow(standing)
    climber = HillClimber(assemble.climb_rules(run.settings), standing.records)

    def submit(pair: Pair) -> Future[PairRecord]:
        future: Future[PairRecord] = Future()
        student = steps.make_student(run, pair)
        teacher = steps.ensure_teacher(run, pair.teacher)
        future.set_result(steps.ensure_record(run, pair, student, teacher))
        return future

    for record in engine.climb(climber, iterations=iterations, workers=1, submit=submit):
        graded = standing.add(record)
        standing.best(run.settings.search.top_k)
        publisher.add(graded)
        stopping.check()


def _fine_tune(run: Run) -> None:
    finetuning.ensure_finetuned(run, finetuning.wanted(run, index=None, epochs=2, alone=False))


def _finish(run: Run) -> None:
    for contender in assemble.contenders(run.settings, outcome.of(run).standing):
        stopping.check()
        controls.ensure_contender(run, contender)
    stopping.check()
    outcome.ensure_held_out(run)
