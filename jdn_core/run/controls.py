"""The trainings beside a search, from files to files: its winner finished, and the controls (ours).

As with the steps of the search, each may be cut off anywhere and called again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, assert_never

from jdn_core.detector.build import Detector, build
from jdn_core.detector.folder import load_detector, save_detector
from jdn_core.detector.trunk import load_trunk
from jdn_core.errors import Diverged, StorageError
from jdn_core.faults import Point, faultpoint
from jdn_core.run import assemble, steps, warm
from jdn_core.run.folder import Run
from jdn_core.search.contenders import Contender, ContenderRecord
from jdn_core.search.pairs import PairRecord
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.teachers import SubnetSpec
from jdn_core.stages.base_training import fit_base
from jdn_core.stages.bench import Training
from jdn_core.stages.measurement import MeasurementRules, measure_detector
from jdn_core.stages.student_training import fit_student

Trained = tuple[Detector, Training]


class _Piece(NamedTuple):
    """One training of a lineage: whose teacher it has, and the record whose student had this teacher."""

    name: str
    teacher: SubnetSpec
    student: PairRecord
    regime: TrainingSettings


class NoDetector(Exception):
    """Nothing can be trained; its text says why."""


def ensure_contender(run: Run, contender: Contender) -> ContenderRecord:
    """Trains a contender, measures it at every frame and commits its record; a failure is a record too."""
    if found := run.contenders.get(contender):
        return found
    faultpoint(Point.CONTROL_START)
    try:
        record = _measured(run, contender, *_trained(run, contender))
    except Diverged as error:
        record = commit_failure(run, contender, f"nan: {error.place}")
    except NoDetector as error:
        record = commit_failure(run, contender, str(error))
    # After the commit: until then a killed training goes on from its checkpoint.
    shutil.rmtree(run.contender_work(contender), ignore_errors=True)
    run.checkpoints("controls", contender.name).forget()
    return record


def commit_failure(run: Run, contender: Contender, reason: str) -> ContenderRecord:
    """Commits a record that says why there is no evaluation."""
    staged = run.contenders.staging(contender.name)
    return run.contenders.commit(ContenderRecord(contender, reason=reason), staged)


def _trained(run: Run, contender: Contender) -> Trained:
    match contender.name:
        case "winner":
            return _finished(run, contender)
        case "longer":
            return _from_the_start(run, contender, assemble.base_spec(run.settings))
        case "distilled":
            return _distilled(run, contender)
        case "scaled":
            return _from_the_start(run, contender, _narrowed(run, contender))
        case name:
            assert_never(name)


def _finished(run: Run, contender: Contender) -> Trained:
    """Trains the winner on under its own teacher while the rate falls to zero."""
    record, folder = _record(run, str(contender.pair)), run.contender_work(contender) / "finished"
    training = steps.finish(run, record, epochs=contender.finish, folder=folder)
    return load_detector(folder, warm.bench(run.settings).device), training


def _from_the_start(run: Run, contender: Contender, spec: DetectorSpec) -> Trained:
    """Trains an architecture as the base was, for as many epochs as the winner's whole lineage had.

    A net of the base's own architecture begins as the base does; a narrower one, which no checkpoint fits,
    from scratch.
    """
    settings = run.settings
    is_base = spec == assemble.base_spec(settings)
    start = partial(assemble.base_detector, spec, settings) if is_base else partial(build, spec)
    return fit_base(
        start,
        warm.bench(settings),
        regime=_regime(settings.base, contender),
        sparsity=settings.distillation.sparsity,
        checkpoints=run.checkpoints("controls", contender.name, contender.key),
        stage=f"control {contender.name}",
    )


def _regime(regime: TrainingSettings, contender: Contender) -> TrainingSettings:
    """Returns the base's regime for the contender's epochs; a constant rate falls as long as the winner's."""
    changes: dict[str, float] = {"epochs": contender.epochs}
    if regime.schedule == "constant" and contender.finish:
        changes |= {"cooldown": contender.finish / contender.epochs, "average": 0.0}
    return regime.model_copy(update=changes)


def _narrowed(run: Run, contender: Contender) -> DetectorSpec:
    assert contender.bound is not None
    spec = assemble.narrowed_spec(run.settings, contender.bound)
    if spec is None:
        bound, family = contender.bound, run.settings.detector.family
        raise NoDetector(f"no width of {family} has at most {bound.macs} MACs at {bound.resolution}")
    return spec


def _distilled(run: Run, contender: Contender) -> Trained:
    """Trains the base through the fast evaluations of the winner's lineage, its architecture as it is."""
    source, trainings = run.base, []
    for piece in _pieces(run, contender):
        target = run.contender_work(contender) / piece.name
        if not target.is_dir():
            _pass_on(run, contender, piece, source, target)
        trainings.append(steps.training_of(target))
        source = target
    return load_detector(source, warm.bench(run.settings).device), _joined(trainings)


def _pieces(run: Run, contender: Contender) -> Iterator[_Piece]:
    """Yields the trainings of a lineage, and the last cool-down where the winner had one."""
    regime, pairs = run.settings.evaluation, [_record(run, key) for key in contender.lineage]
    for number, record in enumerate(pairs, start=1):
        yield _Piece(str(number), record.pair.teacher, _record(run, str(record.pair.parent)), regime)
    if contender.finish:
        cooling = steps.cooling(regime, epochs=contender.finish)
        yield _Piece("finish", pairs[-1].pair.teacher, pairs[-1], cooling)


def _pass_on(run: Run, contender: Contender, piece: _Piece, source: Path, target: Path) -> None:
    """Trains one detector on under a teacher, from folder to folder."""
    bench = warm.bench(run.settings)
    start = load_trunk(source, bench.device)
    teacher = steps.ensure_teacher(run, piece.teacher)
    training = fit_student(
        start,
        steps.teacher_of(run, piece.teacher, teacher, piece.student, bench),
        bench,
        stream=bench.stream.child("control", f"distilled {piece.name}"),
        regime=piece.regime,
        distillation=run.settings.distillation,
        checkpoints=run.checkpoints("controls", contender.name, contender.key, piece.name),
    )
    steps.keep_trained(start.detector, training, target)


def _record(run: Run, key: str) -> PairRecord:
    record = run.records.get(key)
    if record is None:
        raise StorageError(
            f"{run.records.path(key)}: its record is gone; `jdn verify {run.folder}` says more"
        )
    return record


def _joined(parts: list[Training]) -> Training:
    """Returns several trainings in a row as one."""
    names = dict.fromkeys(chain.from_iterable(part.losses for part in parts))
    losses = {name: tuple(chain.from_iterable(part.losses.get(name, ()) for part in parts)) for name in names}
    return Training(losses, sum(part.seconds for part in parts))


def _measured(run: Run, contender: Contender, detector: Detector, training: Training) -> ContenderRecord:
    """Measures a trained contender as a pair is measured, and makes it a record."""
    settings = run.settings.evaluation
    staged = run.contenders.staging(contender.name)
    written = save_detector(detector, staged)
    faultpoint(Point.CONTROL_WEIGHTS)
    rules = MeasurementRules(settings.latency_warmup, settings.latency_repeats, ())
    evaluation = measure_detector(
        detector, warm.bench(run.settings), weights=written.sha256, training=training, rules=rules
    )
    found = replace(evaluation, prunings={})  # nothing is proposed from it
    return run.contenders.commit(ContenderRecord(contender, detector.spec, found), staged)
