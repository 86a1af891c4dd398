"""One arm under one seed, from files to files: it may be cut off anywhere and called again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, assert_never

import torch
from torch import nn

from jdn_core.data.loading import BatchLoader
from jdn_core.detector.build import Detector, build
from jdn_core.detector.folder import load_detector, load_spec, save_detector
from jdn_core.detector.trunk import Trunk, load_trunk
from jdn_core.errors import Diverged
from jdn_core.evaluation.complexity import complexity
from jdn_core.evaluation.detection import evaluate, evaluate_with_matches
from jdn_core.morphism.evolve import evolve_trunk
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import load_pool
from jdn_core.run import assemble, datasets, outcome, steps, warm
from jdn_core.run.folder import Run
from jdn_core.search.evolution import EvolutionRules
from jdn_core.search.pairs import Evaluation, Measurement, Pair
from jdn_core.search.score import Base as ScoreBase
from jdn_core.search.score import excess, score
from jdn_core.search.subnets import SubnetRecords
from jdn_core.settings.search import ScoreSettings
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.actions import PruneChannels, reason_against
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpec
from jdn_core.stages.base_training import fit_base
from jdn_core.stages.bench import Training
from jdn_core.stages.pool_assessment import search_pool
from jdn_core.stages.pool_phase import calibrated_teacher
from jdn_core.stages.student_training import fit_student
from jdn_core.studies import results
from jdn_core.studies.arms import Arm, Base, Bred, Fresh, Piece, Pruning, Searched, Taken, source_key
from jdn_core.studies.costs import Cost, phase_cost, training_cost
from jdn_core.studies.folder import StudyFolder
from jdn_core.studies.results import ArmResult, Numbers
from jdn_core.training.randomness import Stream

TAUGHT = "loss_feature"  # a loss that a training under a teacher has


class _Made(NamedTuple):
    """A detector with what it took to come to it."""

    trunk: Trunk
    cost: Cost


def ensure_arm(studies: StudyFolder, seed: int, arm: Arm) -> ArmResult:
    """Trains an arm, measures it and commits its result, unless that is done; a failure is a result too.

    Args:
        studies: with base and, where the arm needs it, pool of the seed, and its search finished.
        seed: counted from 0.
        arm: what is trained.
    """
    folder = studies.arm(seed, arm)
    if found := results.read(folder, key=arm.key):
        return found
    run = studies.run(seed)
    work = run.folder / "work" / "arms" / arm.key
    try:
        made = _source(studies, seed, arm)
        if arm.pruning is not None:
            made = made._replace(trunk=_pruned(made.trunk, arm.pruning))
        detector, cost = _trained(run, arm, made, work)
        result = _measured(run, arm, detector, cost, folder)
    except Diverged as error:
        result = commit_failure(studies, seed, arm, f"nan: {error.place}")
    # After the commit: until then a killed training goes on from its checkpoint.
    shutil.rmtree(work, ignore_errors=True)
    run.checkpoints("arms", arm.key).forget()
    return result


def commit_failure(studies: StudyFolder, seed: int, arm: Arm, reason: str) -> ArmResult:
    """Commits a result that says why there are no numbers."""
    folder = studies.arm(seed, arm)
    failed = ArmResult(arm.key, studies.settings_of(seed).seed, Cost(), reason=reason)
    return results.commit(failed, results.staging(folder), folder)


def _source(studies: StudyFolder, seed: int, arm: Arm) -> _Made:
    """Makes what an arm begins with."""
    run, source = studies.run(seed), arm.source
    device = warm.bench(run.settings).device
    match source:
        case Base():
            return _Made(_begun(run.base, arm, device), base_cost(run))
        case Fresh():
            return _Made(Trunk(_fresh(run, source)), Cost())
        case Taken():
            return _Made(Trunk(_taken(run, source)), pool_cost(run, source.phase))
        case Searched():
            search = studies.search(seed, source)
            trunk = _begun(outcome.of(search).result_folder, arm, device)
            return _Made(trunk, base_cost(run) + search_cost(search))
        case Bred():
            return _Made(Trunk(_bred(run, source)), pool_cost(run, len(run.settings.pool.phases) - 1))
        case _:
            assert_never(source)


def _begun(folder: Path, arm: Arm, device: torch.device) -> Trunk:
    """Loads a trained detector: where trainings follow, the raw weights and momentum that they go on from."""
    return load_trunk(folder, device) if arm.pieces else Trunk(load_detector(folder, device))


def _fresh(run: Run, fresh: Fresh) -> Detector:
    """Builds an untrained detector under the draws of the base's, so that equal ones begin alike."""
    settings, spec = run.settings, fresh_spec(run, fresh)
    bench = warm.bench(settings)
    bench.stream.child("base", "init").seed_torch()
    own = assemble.base_spec(settings)
    detector = assemble.base_detector(spec, settings) if spec == own else build(spec)
    return detector.to(bench.device)


def fresh_spec(run: Run, fresh: Fresh) -> DetectorSpec:
    """Returns the architecture of a detector that begins untrained."""
    settings, spec = run.settings, assemble.base_spec(run.settings)
    if fresh.subnet is not None:
        return settings.subnet_space.detector_spec(fresh.subnet, spec)
    if fresh.width == 1.0:
        return spec
    return replace(
        spec, backbone=family(settings.detector.family, width=settings.detector.width * fresh.width)
    )


def _taken(run: Run, taken: Taken) -> Detector:
    """Takes a subnet out of the pool as a phase left it."""
    bench, supernet = warm.bench(run.settings), load_pool(run.phase(taken.phase))
    if not taken.bn_reset:
        return extract(supernet, taken.subnet).to(bench.device)
    images = run.settings.pool.calibration_images
    return calibrated_teacher(supernet, taken.subnet, bench, images=images)


def _bred(run: Run, bred: Bred) -> Detector:
    """Searches the pool; subnets that are measured already are not measured again."""
    settings, supernet = run.settings, load_pool(run.pool)
    rules = EvolutionRules(
        settings.subnet_space,
        assemble.base_spec(settings),
        settings.data.frames,
        bred.max_macs,
        population=bred.population,
        seed=settings.seed,
    )
    ranking = search_pool(
        supernet,
        warm.bench(settings),
        rules=rules,
        generations=bred.generations,
        images=settings.pool.calibration_images,
        records=SubnetRecords(run.folder / "work" / "bred" / source_key(bred)[:16]),
    )
    return _taken(run, Taken(ranking[0].subnet, len(settings.pool.phases) - 1))


def _pruned(trunk: Trunk, pruning: Pruning) -> Trunk:
    """Removes channels: once, or step by step until the cost is low enough or nothing is left to remove."""
    if pruning.max_macs is None:
        return evolve_trunk(trunk, PruneChannels(pruning.share))
    action = PruneChannels(pruning.share)
    while (
        complexity(trunk.detector.spec, trunk.detector.spec.resolution).macs > pruning.max_macs
        and reason_against(trunk.detector.spec, action) is None
    ):
        trunk = evolve_trunk(trunk, action)
    return trunk


def _trained(run: Run, arm: Arm, made: _Made, work: Path) -> tuple[Detector, Cost]:
    """Trains the pieces in a row, each from the folder that the one before left."""
    trunk, cost = made
    if not arm.pieces:
        return trunk.detector, cost
    for number, piece in enumerate(arm.pieces):
        target, spec = work / str(number), trunk.detector.spec
        if not target.is_dir():
            _pass_on(run, arm, number, trunk, target)
        cost += _piece_cost(run, spec, piece, steps.training_of(target))
        trunk = load_trunk(target, warm.bench(run.settings).device)
    return load_detector(target, warm.bench(run.settings).device), cost


def _pass_on(run: Run, arm: Arm, number: int, trunk: Trunk, target: Path) -> None:
    """Trains one piece into a folder; a detector that begins untrained sees the base's very batches."""
    bench, piece = warm.bench(run.settings), arm.pieces[number]
    checkpoints = run.checkpoints("arms", arm.key, str(number))
    is_fresh = isinstance(arm.source, Fresh) and number == 0
    if is_fresh and piece.teacher is None:
        _, training = fit_base(
            lambda: trunk.detector,
            bench,
            regime=piece.regime,
            sparsity=piece.distillation.sparsity,
            checkpoints=checkpoints,
            stage=arm.name,
        )
    else:
        training = fit_student(
            trunk,
            _teacher(run, piece),
            bench,
            stream=bench.stream.child("base") if is_fresh else bench.stream.child("study", number),
            regime=piece.regime,
            distillation=piece.distillation,
            checkpoints=checkpoints,
        )
    steps.keep_trained(trunk.detector, training, target)


def _teacher(run: Run, piece: Piece) -> Detector | None:
    """Loads a piece's teacher; none where ``distillation.when`` wants one that is better than the base."""
    if piece.teacher is None:
        return None
    bench, folder = warm.bench(run.settings), steps.ensure_teacher(run, piece.teacher)
    asking = replace(run, settings=run.settings.model_copy(update={"distillation": piece.distillation}))
    return steps.teacher_of(asking, piece.teacher, folder, steps.ensure_base_record(run), bench)


def _measured(run: Run, arm: Arm, detector: Detector, cost: Cost, folder: Path) -> ArmResult:
    """Measures a detector at every resolution on val, and at the best one where the study compares."""
    bench, settings = warm.bench(run.settings), run.settings
    spec, staged = detector.spec, results.staging(folder)
    save_detector(detector, staged)
    found = [
        Measurement(frame, numbers.twelve, complexity(spec, frame).macs)
        for frame, numbers in evaluate(detector, bench.val, bench.frames).items()
    ]
    grading = _Grading.of(run, found[-1].macs)
    chosen = max(found, key=grading.order if arm.chosen_by == "score" else lambda each: each.ap)
    photos = datasets.held_out(settings.data) or bench.val.dataset
    with BatchLoader(photos, cache_mb=settings.data.cache_mb // 2) as loader:
        numbers, matches = evaluate_with_matches(detector, loader, chosen.resolution)
    results.write_matches(matches, staged)
    measured = Numbers(
        resolution=chosen.resolution,
        params=complexity(spec, chosen.resolution).params,
        macs_by={str(each.resolution): each.macs for each in found},
        ap_val={str(each.resolution): each.ap for each in found},
        ap=numbers.AP,
        bn_weight=_bn_weight(detector),
        score=grading.line(chosen),
    )
    return results.commit(ArmResult(arm.key, settings.seed, cost, measured), staged, folder)


def _bn_weight(detector: Detector) -> float:
    """Returns the mean of |weight| over the BN layers of the backbone, in which pruning looks for zeros."""
    weights = [layer.weight for layer in detector.backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    return float(torch.cat([weight.detach().abs() for weight in weights]).mean())


class _Grading(NamedTuple):
    """H of a detector whose MACs at the largest resolution are known, relative to the base of its seed."""

    run: Run
    base: ScoreBase
    reference: int

    @classmethod
    def of(cls, run: Run, reference: int) -> _Grading:
        evaluation = steps.ensure_base_record(run).evaluation
        assert evaluation is not None  # a base that failed has no record
        return cls(run, ScoreBase.of(evaluation, _by_macs(run)), reference)

    def order(self, measured: Measurement) -> tuple[float, float]:
        """Sorts the better resolution last: inside the hard bounds by H, then the others."""
        rule = _by_macs(self.run)
        return -excess(measured, rule=rule, base=self.base), self._score(measured)

    def line(self, measured: Measurement) -> tuple[float, float]:
        """Returns offset and slope of H as a function of AP at this resolution."""
        nothing, all_of_it = (self._score(replace(measured, coco={"AP": ap})) for ap in (0.0, 1.0))
        return nothing, all_of_it - nothing

    def _score(self, measured: Measurement) -> float:
        rule = _by_macs(self.run)
        return score(measured, cost=self.reference, rule=rule, base=self.base)


def _by_macs(run: Run) -> ScoreSettings:
    """Returns the score over MACs, whatever the search's cost is: no target times the arms of a study."""
    return run.settings.score.model_copy(update={"cost": "macs"})


def base_cost(run: Run) -> Cost:
    """Returns what the base's training cost; nothing where it came from elsewhere."""
    training = steps.training_of(run.base)
    return Cost(_of_training(run, [load_spec(run.base)], run.settings.base), training.seconds)


def pool_cost(run: Run, phase: int) -> Cost:
    """Returns what the pool cost up to a phase, with the base that it began as."""
    settings, images = run.settings, len(datasets.dataset(run.settings.data, "train").images)
    total = base_cost(run) if settings.pool.start == "base" else Cost()
    template, space = assemble.base_spec(settings), settings.subnet_space
    largest = space.detector_spec(space.largest, template)
    for index, each in enumerate(assemble.phases(settings)[: phase + 1]):
        stream = Stream((settings.seed,)).child("pool", each.name)
        own = phase_cost(each, template, stream=stream, images=images, frames=settings.data.frames)
        taught = each.draws * _of_training(run, [largest], each.training) if index else 0.0
        total += Cost(own + taught, steps.training_of(run.phase(index)).seconds)
    return total


def search_cost(run: Run) -> Cost:
    """Returns what the pairs of a search cost, and its winner's last cool-down."""
    evaluation, total = run.settings.evaluation, Cost()
    for record in run.records.all():
        if record.pair.index and record.evaluation is not None:
            total += _pair_cost(run, record.pair, record.evaluation, evaluation)
    for contender in outcome.of(run).records:
        if contender.contender.pair is not None and contender.evaluation is not None:
            pair = run.records.get(contender.contender.pair)
            assert pair is not None  # it won
            cooling = steps.cooling(evaluation, epochs=contender.contender.finish)
            total += _pair_cost(run, pair.pair, contender.evaluation, cooling)
    return total


def _pair_cost(run: Run, pair: Pair, evaluation: Evaluation, regime: TrainingSettings) -> Cost:
    """Returns what a pair's training cost; a teacher that ``distillation.when`` refused cost nothing."""
    specs = [pair.student]
    if TAUGHT in evaluation.losses:
        specs.append(_subnet_spec(run, pair.teacher))
    return Cost(_of_training(run, specs, regime), evaluation.timing.train_seconds)


def _piece_cost(run: Run, student: DetectorSpec, piece: Piece, training: Training) -> Cost:
    """Returns what one training of an arm cost; a teacher that was not asked cost nothing."""
    asked = piece.teacher is not None and TAUGHT in training.losses
    specs = [student, _subnet_spec(run, piece.teacher)] if asked and piece.teacher else [student]
    return Cost(_of_training(run, specs, piece.regime), training.seconds)


def _subnet_spec(run: Run, subnet: SubnetSpec) -> DetectorSpec:
    return run.settings.subnet_space.detector_spec(subnet, assemble.base_spec(run.settings))


def _of_training(run: Run, specs: Sequence[DetectorSpec], regime: TrainingSettings) -> float:
    images = len(datasets.dataset(run.settings.data, "train").images)
    return training_cost(specs, regime, images=images, frames=run.settings.data.frames)
