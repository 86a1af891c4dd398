"""A detector of a search trained on after it, from files to files (paper, Table 9).

As with the steps of the search, it may be cut off anywhere and called again.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from jdn_core.data.loading import BatchLoader
from jdn_core.detector.build import Detector
from jdn_core.detector.folder import load_detector, save_detector
from jdn_core.detector.trunk import load_trunk
from jdn_core.errors import InputMissing
from jdn_core.evaluation import bootstrap
from jdn_core.evaluation.detection import evaluate_with_matches
from jdn_core.faults import Point, faultpoint
from jdn_core.run import datasets, outcome, steps, warm
from jdn_core.run.folder import Run
from jdn_core.run.outcome import RESAMPLES
from jdn_core.search import finetunings
from jdn_core.search.contenders import Entrant
from jdn_core.search.finetunings import BEFORE, FineTuned, FineTuning, HeldOutChange
from jdn_core.search.held_out import Difference
from jdn_core.search.pairs import Evaluation, PairRecord
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import Resolution
from jdn_core.stages.bench import Training
from jdn_core.stages.measurement import MeasurementRules, measure_detector
from jdn_core.stages.student_training import fit_student
from jdn_core.storage import durable


class _Start(NamedTuple):
    """What is trained on: its folder, what was measured of it, and the pair whose teacher it has, if any."""

    folder: Path
    evaluation: Evaluation
    taught: PairRecord | None


def wanted(run: Run, *, index: int | None, epochs: int, alone: bool) -> FineTuning:
    """Returns the fine-tuning of a pair, without an index of the search's result.

    Args:
        run: a search with records.
        index: of the pair.
        epochs: of the training.
        alone: whether it has no teacher, as what never had one has none either.

    Raises:
        InputMissing: there is no such pair, or it failed.
    """
    found = outcome.of(run)
    entrant = found.result if index is None else _entrant(found, index)
    taught = _taught(found, entrant)
    return FineTuning(
        search=run.settings.name,
        seed=run.settings.seed,
        start=f"pair {entrant.pair.pair.index}" if entrant.pair else _title(entrant.name),
        contender=None if entrant.pair else entrant.name,
        pair=taught.pair.key if taught else None,
        weights=entrant.evaluation.weights,
        resolution=entrant.grade.measurement.resolution,
        epochs=epochs,
        teacher=None if alone or taught is None else taught.pair.teacher,
    )


def regime_of(evaluation: TrainingSettings, *, epochs: int) -> TrainingSettings:
    """Returns how a search's result is trained on: as a pair is, its rate ending at zero (ours).

    The paper does not say at which rates; a rate that stays leaves the best weights to a cool-down
    (docs/measurements.md, section 1).
    """
    if evaluation.schedule == "constant":
        return steps.cooling(evaluation, epochs=epochs)
    return evaluation.model_copy(update={"epochs": epochs})


def ensure_finetuned(run: Run, tuning: FineTuning) -> FineTuned:
    """Trains a detector on, measures it before and after, and commits the record, unless that is done.

    Raises:
        InputMissing, CheckpointError: weights, or the pool, are gone or damaged.
        Diverged: a loss or a gradient was not finite.
        Stopped: a stop was requested; the next call goes on from there.
    """
    folder = run.finetuning(tuning.name)
    if found := finetunings.read(folder, tuning):
        _forget(run, tuning)  # a kill may have come before that
        return found
    faultpoint(Point.FINETUNE_START)
    start, work = _start(run, tuning), run.finetuning_work(tuning.name)
    training = _trained(run, tuning, start, work)
    record = _measured(run, tuning, start, load_detector(work, warm.bench(run.settings).device), training)
    _forget(run, tuning)  # after the commit: until then a killed training goes on from its checkpoint
    return record


def _forget(run: Run, tuning: FineTuning) -> None:
    """Drops what only the training needed, and the folders that are empty then."""
    run.checkpoints("finetune", tuning.key).forget()
    places = [run.finetuning_work(tuning.name)]
    if tuning.teacher is not None:
        places.append(run.teacher(tuning.teacher))
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    work = run.folder / "work"
    for parent in (
        *(place.parent for place in places),
        work / "checkpoints" / "finetune",
        work / "checkpoints",
    ):
        with contextlib.suppress(OSError):
            parent.rmdir()


def _title(name: str) -> str:
    return name if name == "winner" else f"control {name}"


def _entrant(found: outcome.Outcome, index: int) -> Entrant:
    """Returns a pair as it is, at the frame that its score chooses."""
    for record in found.standing.records:
        if record.pair.index == index and record.evaluation is not None:
            grade = found.standing.graded(record.pair.key).grade
            assert grade is not None  # it has an evaluation
            return Entrant("winner", record, None, grade)
    known = [record.pair.index for record in found.standing.records if record.evaluation is not None]
    raise InputMissing(f"{found.run.folder}: no finished pair {index}; there are {known}")


def _taught(found: outcome.Outcome, entrant: Entrant) -> PairRecord | None:
    """Returns the pair whose teacher a detector had last; none for one that never had any."""
    if entrant.pair is not None:
        return entrant.pair
    assert entrant.contender is not None
    contender = entrant.contender.contender
    key = contender.pair or next(reversed(contender.lineage), None)
    return None if key is None else found.standing.graded(key).record


def _start(run: Run, tuning: FineTuning) -> _Start:
    """Finds what is trained on.

    Raises:
        InputMissing: the search was prolonged and has other controls now, or the record is gone.
    """
    taught = None if tuning.pair is None else run.records.get(tuning.pair)
    if tuning.contender is None:
        if taught is not None and taught.evaluation is not None:
            return _Start(run.records.path(taught.pair.key), taught.evaluation, taught)
    else:
        for record in outcome.of(run).records:
            if record.contender.name == tuning.contender and record.evaluation is not None:
                folder = run.contenders.path(record.contender.name)
                return _Start(folder, record.evaluation, taught)
    raise InputMissing(f"{run.folder}: the record of {tuning.start} is gone; `jdn verify` says more")


def _trained(run: Run, tuning: FineTuning, start: _Start, work: Path) -> Training:
    """Trains into a folder, unless it is there already."""
    if not work.is_dir():
        bench = warm.bench(run.settings)
        trunk = load_trunk(start.folder, bench.device)
        training = fit_student(
            trunk,
            _teacher(run, tuning, start),
            bench,
            stream=bench.stream.child("finetune", tuning.start),
            regime=regime_of(run.settings.evaluation, epochs=tuning.epochs),
            distillation=run.settings.distillation,
            checkpoints=run.checkpoints("finetune", tuning.key),
        )
        steps.keep_trained(trunk.detector, training._replace(trunk=None), work)
    return steps.training_of(work)


def _teacher(run: Run, tuning: FineTuning, start: _Start) -> Detector | None:
    """Loads the teacher; none where ``distillation.when`` wants one that is better than the student."""
    if tuning.teacher is None:
        return None
    assert start.taught is not None  # it had this teacher
    student = replace(start.taught, evaluation=start.evaluation)
    folder = steps.ensure_teacher(run, tuning.teacher)
    return steps.teacher_of(run, tuning.teacher, folder, student, warm.bench(run.settings))


def _measured(
    run: Run, tuning: FineTuning, start: _Start, detector: Detector, training: Training
) -> FineTuned:
    """Measures a detector that was trained on as a pair is measured, and makes it a record."""
    settings, staged = run.settings.evaluation, durable.stage_folder(run.finetuning(tuning.name))
    detector.spec = replace(detector.spec, resolution=tuning.resolution)  # where its folder alone is named
    written = save_detector(detector, staged)
    faultpoint(Point.FINETUNE_WEIGHTS)
    rules = MeasurementRules(settings.latency_warmup, settings.latency_repeats, ())
    evaluation = measure_detector(
        detector, warm.bench(run.settings), weights=written.sha256, training=training, rules=rules
    )
    record = FineTuned(
        tuning=tuning,
        before=finetunings.at(start.evaluation, tuning.resolution),
        evaluation=replace(evaluation, prunings={}),  # nothing is proposed from it
        held_out=_held_out(run, start.folder, detector, tuning.resolution),
    )
    return finetunings.commit(record, staged, run.finetuning(tuning.name))


def _held_out(run: Run, folder: Path, detector: Detector, resolution: Resolution) -> HeldOutChange | None:
    """Measures before and after on the held-out photos, with the interval over resamples of them."""
    photos = datasets.held_out(run.settings.data)
    if photos is None:
        return None
    with BatchLoader(photos, cache_mb=run.settings.data.cache_mb // 2) as loader:
        measured = [
            evaluate_with_matches(each, loader, resolution)
            for each in (load_detector(folder, warm.bench(run.settings).device), detector)
        ]
    (before, matches), (after, later) = measured
    found = bootstrap.difference(matches, later, seed=run.settings.seed, resamples=RESAMPLES)
    interval = (found.low, found.high) if math.isfinite(found.low) else None
    return HeldOutChange(
        images=len(photos.images),
        boxes=sum(len(image.labels) for image in photos.images),
        before=before.AP,
        after=after.AP,
        difference=Difference(BEFORE, found.value, interval),
    )
