"""The stages of the method on one bench: train the base, train the pool, evaluate a pair fast, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.data.loading import Batch, BatchLoader, Plan
from jdn_core.detector.backbone import Block
from jdn_core.detector.build import Detector
from jdn_core.distillation.distiller import Distiller
from jdn_core.distillation.losses import bn_sparsity
from jdn_core.evaluation.complexity import complexity
from jdn_core.evaluation.detection import evaluate
from jdn_core.evaluation.latency import measure
from jdn_core.faults import Point, faultpoint
from jdn_core.morphism.evolve import prospects
from jdn_core.pool.calibration import reset_bn
from jdn_core.pool.extraction import extract
from jdn_core.pool.shrinking import Phase, draws_for, sort_channels
from jdn_core.pool.supernet import SuperNet, synchronise
from jdn_core.processes.ranks import ALONE, Ranks
from jdn_core.search.pairs import Evaluation, Measurement, Timing
from jdn_core.settings.sections import DistillationSettings, TrainingSettings
from jdn_core.space.architecture import Resolution
from jdn_core.space.teachers import SubnetSpec
from jdn_core.training.checkpoints import Checkpoints
from jdn_core.training.loop import Course, History, LossesOf, train
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import training_plan

CALIBRATION_BATCH = 8


class Training(NamedTuple):
    """What a training left behind beside the weights: mean losses per epoch, and its wall time in seconds."""

    losses: History
    seconds: float


@dataclass(frozen=True)
class EvaluationRules:
    """How latency is measured, and the shares of channels whose pruning is looked ahead to."""

    latency_warmup: int
    latency_repeats: int
    prune_shares: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Bench:
    """The data and the device that every stage of a run works with.

    Attributes:
        train, val: loaders of the two splits, with warm caches.
        frames: the resolutions, smallest area first.
        flip: chance of a mirrored training image.
        device: where tensors live.
        stream: the run's seed; every draw is a child of it.
        ranks: the processes that train together, each with a bench of its own.
    """

    train: BatchLoader
    val: BatchLoader
    frames: tuple[Resolution, ...]
    flip: float
    device: torch.device
    stream: Stream
    ranks: Ranks = ALONE

    @property
    def train_set(self) -> CocoDataset:
        return self.train.dataset

    def fit(
        self,
        module: nn.Module,
        passes: Sequence[LossesOf],
        *,
        stage: str,
        regime: TrainingSettings,
        stream: Stream,
        checkpoints: Checkpoints | None,
    ) -> Training:
        """One training over the train split, whose every draw is a child of ``stream``."""

        def plan_of(epoch: int) -> Plan:
            images, draws = len(self.train_set.images), stream.child("epoch", epoch)
            return training_plan(
                images, batch=regime.batch, resolutions=self.frames, flip=self.flip, stream=draws
            )

        for block in module.modules():
            if isinstance(block, Block):
                block.recompute = regime.recompute
        course = Course(stage, regime, plan_of, stream)
        started = time.monotonic()
        losses = train(
            module, passes, course=course, loader=self.train, checkpoints=checkpoints, ranks=self.ranks
        )
        return Training(losses, time.monotonic() - started)


def train_base(
    start: Callable[[], Detector],
    bench: Bench,
    *,
    regime: TrainingSettings,
    sparsity: float,
    checkpoints: Checkpoints | None = None,
) -> tuple[Detector, Training]:
    """The base at dynamic resolution, with the sparsity that pruning will want (paper, A.3).

    ``start`` makes what is trained, from scratch or pretrained, with the run's draws for what is fresh. A
    regime without epochs leaves it as it is.
    """
    stream = bench.stream.child("base")
    stream.child("init").seed_torch()
    detector = start().to(bench.device)

    def losses_of(batch: Batch, _: int) -> dict[str, Tensor]:
        output = detector.training_step(batch.images, batch.sizes, batch.targets)
        return {**output.losses, "loss_sparsity": sparsity * bn_sparsity(detector.backbone)}

    training = bench.fit(
        detector, [losses_of], stage="base", regime=regime, stream=stream, checkpoints=checkpoints
    )
    return detector.eval(), training


def train_phase(
    supernet: SuperNet,
    phase: Phase,
    bench: Bench,
    *,
    teacher: Detector | None,
    distillation: DistillationSettings,
    checkpoints: Checkpoints | None = None,
) -> Training:
    """One phase of integrated progressive shrinking (paper, section 3.1.3), in place.

    Processes that train together draw the same subnets; on GPUs their BN is synchronised (paper), on CPUs
    each normalises by its own share of the batch.

    Args:
        supernet: as the phase before left it; fresh for the first.
        phase: the subnets that are drawn, one an iteration, and the training.
        bench: data and device.
        teacher: the frozen super-network of the first phase; none in the first phase itself.
        distillation: weights of the losses.
        checkpoints: where to go on from.
    """
    stream = bench.stream.child("pool", phase.name)
    stream.child("init").seed_torch()
    if bench.ranks.count > 1 and bench.device.type == "cuda":
        synchronise(supernet)
    modules = nn.ModuleDict({"pool": supernet})
    distiller = None
    if teacher is not None:
        sort_channels(supernet)
        faultpoint(Point.POOL_SORTED)
        distiller = Distiller(teacher, supernet.spec, distillation).to(bench.device)
        modules["distiller"] = distiller

    def losses_of(batch: Batch, iteration: int, *, place: int) -> dict[str, Tensor]:
        supernet.activate(draws_for(stream, phase, iteration)[place])
        output = supernet.training_step(batch.images, batch.sizes, batch.targets)
        learnt = distiller(output, batch.images, batch.sizes) if distiller else {}
        return {**output.losses, **learnt}

    training = bench.fit(
        modules,
        [partial(losses_of, place=place) for place in range(phase.draws)],
        stage=f"pool {phase.name}",
        regime=phase.training,
        stream=stream,
        checkpoints=checkpoints,
    )
    supernet.activate(supernet.space.largest)
    supernet.eval()
    return training


def calibrated_teacher(supernet: SuperNet, subnet: SubnetSpec, bench: Bench, *, images: int) -> Detector:
    """A subnet as a plain detector, its BN reset on a fixed set of training images (paper, section 4)."""
    teacher = extract(supernet, subnet).to(bench.device)
    there = len(bench.train_set.images)
    batch = min(CALIBRATION_BATCH, images, there)
    plan = training_plan(
        there,
        batch=batch,
        resolutions=bench.frames,
        flip=0.0,
        stream=bench.stream.child("calibration"),
    )
    reset_bn(teacher, bench.train.batches(plan[: max(1, images // batch)]))
    return teacher


def fast_evaluation(
    student: Detector,
    teacher: Detector,
    bench: Bench,
    *,
    stream: Stream,
    regime: TrainingSettings,
    distillation: DistillationSettings,
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Trains a student for a few epochs under its teacher, in place (paper, section 3.1.4 and A.1).

    The last two names of ``stream``, such as ``pair 7``, are what the user reads beside the progress bar.
    """
    stream.child("init").seed_torch()
    distiller = Distiller(teacher, student.spec, distillation).to(bench.device)
    modules = nn.ModuleDict({"student": student, "distiller": distiller})

    def losses_of(batch: Batch, _: int) -> dict[str, Tensor]:
        output = student.training_step(batch.images, batch.sizes, batch.targets)
        sparsity = distillation.sparsity * bn_sparsity(student.backbone)
        return {**output.losses, **distiller(output, batch.images, batch.sizes), "loss_sparsity": sparsity}

    stage = " ".join(map(str, stream.path[-2:]))
    training = bench.fit(
        modules, [losses_of], stage=stage, regime=regime, stream=stream, checkpoints=checkpoints
    )
    student.eval()
    return training


def evaluation(
    detector: Detector, bench: Bench, *, weights: str, training: Training, rules: EvaluationRules
) -> Evaluation:
    """AP, cost, latency and prospects of a detector: all that the search wants to know of it.

    Args:
        detector: put into eval mode and left there.
        bench: data and device.
        weights: SHA-256 of the detector's weights on disk.
        training: what went before.
        rules: how latency is measured, and which prunings are looked ahead to.
    """
    costs = {frame: complexity(detector.spec, frame) for frame in bench.frames}
    found = evaluate(detector, bench.val, bench.frames)
    measurements = tuple(Measurement(f, numbers.twelve, costs[f].macs) for f, numbers in found.items())
    clocks = {
        frame: measure(detector, frame, warmup=rules.latency_warmup, repeats=rules.latency_repeats)
        for frame in bench.frames
    }
    timing = Timing(
        latency_ms={str(frame): clock.median_ms for frame, clock in clocks.items()},
        train_seconds=training.seconds,
        finished=time.time(),
        device=clocks[bench.frames[-1]].device,
        threads=clocks[bench.frames[-1]].threads,
    )
    ahead = {key: backbone.to_json() for key, backbone in prospects(detector, rules.prune_shares).items()}
    return Evaluation(measurements, costs[bench.frames[-1]].params, training.losses, ahead, weights, timing)
