"""The steps of a run: each makes files from files, and may be cut off anywhere and called again.

What is there already is not made again. Arguments are values and paths, so a step runs in this process or in
a worker alike.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import assert_never

import torch

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.detector.build import Detector
from jdn_core.detector.folder import load_detector, save_detector
from jdn_core.detector.trunk import has_trunk, load_trunk, save_trunk
from jdn_core.errors import Diverged
from jdn_core.faults import Point, faultpoint
from jdn_core.morphism.evolve import evolve_trunk
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import Origin, load_pool, load_pool_spec, save_pool
from jdn_core.pool.from_base import grow
from jdn_core.pool.supernet import SuperNet
from jdn_core.processes.launcher import on_ranks
from jdn_core.processes.ranks import ALONE, Ranks
from jdn_core.reports.examples import write_detections
from jdn_core.run import assemble, datasets, warm
from jdn_core.run.checks import require_classes
from jdn_core.run.folder import TRAINING_FILE, TRAINING_SCHEMA, Run
from jdn_core.search import phases
from jdn_core.search.hill_climbing import first_pair
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.subnets import SubnetRecord
from jdn_core.settings.training import TrainingSettings
from jdn_core.space import actions
from jdn_core.space.teachers import SubnetSpec
from jdn_core.stages.base_training import fit_base
from jdn_core.stages.bench import Bench, Training
from jdn_core.stages.measurement import MeasurementRules, measure_detector
from jdn_core.stages.pool_assessment import assess, assess_phase
from jdn_core.stages.pool_phase import calibrated_teacher, fit_phase
from jdn_core.stages.student_training import fit_student
from jdn_core.storage import durable
from jdn_core.training.randomness import Stream

DETECTIONS_FILE = "detections.png"


def ensure_base(run: Run) -> Path:
    """Trains the base, unless it is there already; the folder appears whole or not at all."""
    if not run.base.is_dir():
        settings = run.settings
        faultpoint(Point.BASE_START)
        bench = warm.bench(settings)
        spec = assemble.base_spec(settings)
        detector, training = fit_base(
            lambda: assemble.base_detector(spec, settings),
            bench,
            regime=settings.base,
            sparsity=settings.distillation.sparsity,
            checkpoints=run.checkpoints("base"),
        )
        keep_trained(detector, training, run.base)
        faultpoint(Point.BASE_SAVED)
    return run.base


def ensure_phase(run: Run, index: int) -> Path:
    """Trains a phase of the pool from where the one before ended, unless it is there already.

    The frozen super-network of the first phase is the teacher of all others (paper, section 3.1.3).
    """
    folder = run.phase(index)
    # A pool from elsewhere has no folders of its phases.
    if not folder.is_dir() and not run.pool.is_dir():
        faultpoint(Point.POOL_START)
        count = datasets.pool_processes(run.settings)
        if count == 1:
            fit_phase_on_rank(ALONE, run, index)
        else:
            on_ranks(fit_phase_on_rank, run, index, count=count)
        faultpoint(Point.POOL_SAVED)
    return folder


def fit_phase_on_rank(ranks: Ranks, run: Run, index: int) -> None:
    """Does what each of the processes does that train a phase together; the first one writes the folder."""
    bench = replace(warm.bench(run.settings), ranks=ranks)
    phase = assemble.phases(run.settings)[index]
    supernet = _supernet(run, index, bench.stream).to(bench.device)
    training = fit_phase(
        supernet,
        phase,
        bench,
        teacher=_largest(run, bench.device) if index else None,
        distillation=run.settings.distillation,
        sort=run.settings.pool.start == "scratch",
        checkpoints=run.checkpoints("pool", phase.name),
    )

    def fill(staged: Path) -> None:
        save_pool(supernet, staged, origin=_origin(run, index, training, bench.train_set))
        _note(training, staged)

    if ranks.first:  # all have the same weights after every step
        _make(run.phase(index), fill)


def ensure_assessment(run: Run, index: int) -> Path:
    """Writes AP of some subnets after a phase, unless it is there, or the phase's folder is gone."""
    file, folder, settings = run.assessment(index), run.phase(index), run.settings.pool
    if folder.is_dir() and phases.read(file) is None:
        found = assess_phase(
            load_pool(folder),
            assemble.phases(run.settings)[index],
            warm.bench(run.settings),
            draws=settings.assessed_subnets,
            images=settings.calibration_images,
        )
        phases.write(file, found)
    return file


def ensure_base_record(run: Run) -> PairRecord:
    """Measures the base and commits it as pair 0; the super-network of the pool is its teacher.

    Raises:
        DataError: the base has other classes than the dataset.
    """
    bench = warm.bench(run.settings)
    detector = load_detector(run.base, bench.device)
    require_classes("base", detector.spec.classes, assemble.classes(bench.train_set))
    pair = first_pair(assemble.climb_rules(run.settings), detector.spec)
    found = run.records.get(pair.key)
    if found is not None:
        return found
    trunk = load_trunk(run.base, bench.device) if has_trunk(run.base) else None
    return _measure(run, pair, detector, training_of(run.base)._replace(trunk=trunk), bench)


def make_student(run: Run, pair: Pair) -> Path:
    """Makes the pair's student before its training: the parent's weights after the action (f_evolve).

    A parent whose training can be gone on with hands down its raw weights and its momentum.
    """
    faultpoint(Point.MUTATE_START)
    place = run.records.path(str(pair.parent))
    parent = load_trunk(place)
    # A new teacher leaves the student as it is; its folder is made all the same, as the next step reads one.
    is_students = not pair.action.startswith("teacher:")
    student = evolve_trunk(parent, actions.parse(pair.action)) if is_students else parent
    folder = run.pair_work(pair.key) / "student"
    save_detector(student.detector, folder)
    if has_trunk(place):
        save_trunk(student, folder)
    faultpoint(Point.MUTATE_SAVED)
    return folder


def ensure_teacher(run: Run, subnet: SubnetSpec) -> Path:
    """Makes the sampled teacher a plain detector with BN statistics of its own; kept for later pairs."""
    folder = run.teacher(subnet)
    if not folder.is_dir():
        faultpoint(Point.BN_START)
        bench = warm.bench(run.settings)
        images = run.settings.pool.calibration_images
        teacher = calibrated_teacher(load_pool(run.pool), subnet, bench, images=images)
        _make(folder, lambda staged: save_detector(teacher, staged))
        faultpoint(Point.BN_SAVED)
    if run.settings.pool.assessed_subnets and run.measured_teachers.get(subnet) is None:
        bench = warm.bench(run.settings)
        _measured(run, subnet, load_detector(folder, bench.device), bench)
    return folder


def ensure_record(run: Run, pair: Pair, student: Path, teacher: Path) -> PairRecord:
    """Trains the student under its teacher, measures it and commits the record; a failure is a record too."""
    if found := run.records.get(pair.key):
        return found
    faultpoint(Point.PAIR_START)
    bench = warm.bench(run.settings)
    start = load_trunk(student, bench.device)
    try:
        training = fit_student(
            start,
            teacher_of(run, pair.teacher, teacher, run.records.get(str(pair.parent)), bench),
            bench,
            stream=bench.stream.child("pair", pair.index),
            regime=run.settings.evaluation,
            distillation=run.settings.distillation,
            checkpoints=run.checkpoints("pairs", pair.key),
        )
        record = _measure(run, pair, start.detector, training, bench)
    except Diverged as error:
        record = commit_failure(run, pair, f"nan: {error.place}")
    _forget(run, pair)  # after the commit: until then a killed evaluation goes on from its checkpoint
    return record


def finish(run: Run, record: PairRecord, *, epochs: int, folder: Path) -> Training:
    """Trains a record's student on while the rate falls to zero, unless ``folder`` is there already.

    A constant rate leaves the best weights to a last cool-down (docs/measurements.md, section 1). It begins
    with the record's raw weights and momentum; the record and its files stay as they are.

    Args:
        run: of the record.
        record: done; its student goes on under its own teacher and distillation.
        epochs: of the cool-down, >= 1; the rate begins at the evaluation's and falls linearly.
        folder: becomes the detector's, whole or not at all.

    Raises:
        InputMissing, CheckpointError: the record's weights are gone or damaged (``tracking.restore_files``).
        Diverged: a loss or a gradient was not finite.
        Stopped: a stop was requested; the next call goes on from there.
    """
    if not folder.is_dir():
        bench = warm.bench(run.settings)
        start = load_trunk(run.records.path(record.pair.key), bench.device)
        checkpoints = run.checkpoints("finish", record.pair.key, f"epochs-{epochs}")
        training = fit_student(
            start,
            teacher_of(run, record.pair.teacher, ensure_teacher(run, record.pair.teacher), record, bench),
            bench,
            stream=bench.stream.child("finish", record.pair.index),
            regime=cooling(run.settings.evaluation, epochs=epochs),
            distillation=run.settings.distillation,
            checkpoints=checkpoints,
        )
        # Its rate has fallen to zero, so nothing goes on from it.
        keep_trained(start.detector, training._replace(trunk=None), folder)
        checkpoints.forget()
    return training_of(folder)


def cooling(regime: TrainingSettings, *, epochs: int) -> TrainingSettings:
    """Returns a training whose rate begins at the regime's and falls linearly to zero."""
    changes = {"epochs": epochs, "schedule": "constant", "cooldown": 1.0, "average": 0.0, "warmup": 0}
    return regime.model_copy(update=changes)


def commit_failure(run: Run, pair: Pair, reason: str) -> PairRecord:
    """Commits a record that says why there is no evaluation."""
    return _commit(run, PairRecord(pair, "failed", reason=reason), run.records.staging(pair.key))


def teacher_of(
    run: Run, subnet: SubnetSpec, folder: Path, student: PairRecord | None, bench: Bench
) -> Detector | None:
    """Loads a student's teacher; none where no loss asks it, or ``distillation.when`` wants a better one.

    Args:
        run: of the pair.
        subnet: the teacher.
        folder: of the teacher after BN reset.
        student: the record whose weights are gone on with; its AP at the largest resolution counts.
        bench: its val split gives the teacher's AP, once for each teacher.
    """
    if not run.settings.distillation.has_losses:
        return None
    teacher = load_detector(folder, bench.device)
    match run.settings.distillation.when:
        case "always":
            return teacher
        case "better":
            known = _measured(run, subnet, teacher, bench)
            assert student is not None
            assert student.evaluation is not None  # a failed pair is no parent
            is_better = known.ap[known.resolution] > student.evaluation.measurements[-1].ap
            return teacher if is_better else None
        case when:
            assert_never(when)


def _measured(run: Run, subnet: SubnetSpec, teacher: Detector, bench: Bench) -> SubnetRecord:
    """Measures a teacher's AP at the largest resolution, unless that is done."""
    known = run.measured_teachers.get(subnet)
    if known is None:
        known = assess(teacher, subnet, bench, frames=bench.frames[-1:])
        run.measured_teachers.put(known)
    return known


def _measure(run: Run, pair: Pair, detector: Detector, training: Training, bench: Bench) -> PairRecord:
    """Measures a trained student and makes it a record, with its files and a few pictures."""
    settings = run.settings
    staged = run.records.staging(pair.key)
    written = save_detector(detector, staged)  # first, because the record names the hash of what it measured
    if training.trunk:
        save_trunk(training.trunk, staged)
    faultpoint(Point.PAIR_WEIGHTS)
    rules = MeasurementRules(
        settings.evaluation.latency_warmup, settings.evaluation.latency_repeats, settings.search.prune_shares
    )
    evaluation = measure_detector(detector, bench, weights=written.sha256, training=training, rules=rules)
    faultpoint(Point.PAIR_MEASURED)
    if photos := settings.tracking.preview_images:
        write_detections(detector, bench.val.dataset, photos, staged / DETECTIONS_FILE)
    return _commit(run, PairRecord(pair, "done", evaluation), staged)


def _commit(run: Run, record: PairRecord, staged: Path) -> PairRecord:
    records = run.records
    records.commit(record, staged)
    # Read back: another process may have been first, and JSON makes lists of tuples, but a record must equal
    # itself wherever it is met.
    kept = records.get(record.pair.key)
    if kept is None:
        raise RuntimeError(f"pair {record.pair.index} was committed and is not there")
    return kept


def _make(folder: Path, fill: Callable[[Path], object]) -> None:
    """Puts a filled folder in its place, whole or not at all."""
    staged = durable.stage_folder(folder)
    fill(staged)
    durable.commit_folder(staged, folder)


def _note(training: Training, folder: Path) -> None:
    """Writes what a training left behind beside the weights."""
    numbers = {"losses": training.losses, "seconds": training.seconds}
    durable.write_json(folder / TRAINING_FILE, numbers, schema=TRAINING_SCHEMA)


def keep_trained(detector: Detector, training: Training, folder: Path) -> None:
    """Makes the folder of a trained detector, whole or not at all: what it goes on from, and its losses."""

    def fill(staged: Path) -> None:
        save_detector(detector, staged)
        if training.trunk:
            save_trunk(training.trunk, staged)
        _note(training, staged)

    _make(folder, fill)


def training_of(folder: Path) -> Training:
    """Reads the losses and the time of a kept training; nothing, where the folder came from elsewhere."""
    if not (file := folder / TRAINING_FILE).is_file():
        return Training({}, 0.0)
    return Training(**durable.read_json(file, schema=TRAINING_SCHEMA))


def _origin(run: Run, index: int, training: Training, images: CocoDataset) -> Origin:
    """Returns what the pool's folder says of its training, this phase being the newest."""
    before = load_pool_spec(run.phase(index - 1)).origin.curves if index else {}
    curves = {**before, run.settings.pool.phases[index].name: training.losses}
    return Origin(run.settings.of_pool, images.fingerprint, curves)


def _supernet(run: Run, index: int, stream: Stream) -> SuperNet:
    """Loads the super-network as the phase before left it; makes one before the first phase."""
    if index:
        return load_pool(run.phase(index - 1))
    settings = run.settings
    stream.child("pool", "weights").seed_torch()
    match settings.pool.start:
        case "scratch":
            return SuperNet(settings.subnet_space, assemble.base_spec(settings))
        case "base":
            return grow(load_detector(run.base), settings.subnet_space)
    assert_never(settings.pool.start)


def _largest(run: Run, device: torch.device) -> Detector:
    """Extracts the super-network of the first phase as a plain detector."""
    supernet = load_pool(run.phase(0))
    return extract(supernet, supernet.space.largest).to(device)


def _forget(run: Run, pair: Pair) -> None:
    """Drops what only the evaluation needed."""
    shutil.rmtree(run.pair_work(pair.key), ignore_errors=True)
    run.checkpoints("pairs", pair.key).forget()
    faultpoint(Point.PAIR_FORGOTTEN)
