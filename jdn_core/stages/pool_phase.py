"""The elastic teacher pool: one phase of its training, and a subnet of it as a teacher of its own."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector
from jdn_core.distillation.distiller import Distiller
from jdn_core.faults import Point, faultpoint
from jdn_core.pool.calibration import reset_bn
from jdn_core.pool.extraction import extract
from jdn_core.pool.shrinking import Phase, draws_for, sort_channels
from jdn_core.pool.supernet import SuperNet, synchronise
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.space.teachers import SubnetSpec
from jdn_core.stages.bench import Bench, Training
from jdn_core.training.checkpoints import Checkpoints
from jdn_core.training.resolutions import training_plan

CALIBRATION_BATCH = 8  # images; BN's statistics are means over batches, so the number is part of the result


def fit_phase(
    supernet: SuperNet,
    phase: Phase,
    bench: Bench,
    *,
    teacher: Detector | None,
    distillation: DistillationSettings,
    sort: bool = True,
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Trains one phase of integrated progressive shrinking (paper, section 3.1.3), in place.

    Processes that train together draw the same subnets; on GPUs their BN is synchronised (paper), on CPUs
    each normalises by its own share of the batch.

    Args:
        supernet: as the phase before left it; fresh for the first.
        phase: the subnets that are drawn, one an iteration, and the training.
        bench: data and device.
        teacher: the frozen super-network of the first phase; none in the first phase itself.
        distillation: weights of the losses.
        sort: put the most important channels first. A super-network that began as the base is left as it is:
            its first channels are the base's.
        checkpoints: where to go on from.
    """
    stream = bench.stream.child("pool", phase.name)
    stream.child("init").seed_torch()
    # torch's SyncBatchNorm runs on GPUs alone; with one process a batch is whole anyway.
    if bench.ranks.count > 1 and bench.device.type == "cuda":
        synchronise(supernet)
    modules = nn.ModuleDict({"pool": supernet})
    distiller = None
    if teacher is not None:
        # Also before a resume: a checkpoint holds sorted weights and is loaded over these.
        if sort:
            sort_channels(supernet)
        faultpoint(Point.POOL_SORTED)
        distiller = Distiller(teacher, supernet.spec, distillation).to(bench.device)
        modules["distiller"] = distiller

    def losses_of(batch: Batch, iteration: int, *, draw: int) -> dict[str, Tensor]:
        # Drawn from the stream, so all ranks train the same subnet and no gradient is missing.
        supernet.activate(draws_for(stream, phase, iteration)[draw])
        output = supernet.training_step(batch.images, batch.sizes, batch.targets)
        distilled = distiller(output, batch.images, batch.sizes, batch.targets) if distiller else {}
        return {**output.losses, **distilled}

    training = bench.fit(
        modules,
        [partial(losses_of, draw=draw) for draw in range(phase.draws)],
        stage=f"pool {phase.name}",
        regime=phase.training,
        stream=stream,
        checkpoints=checkpoints,
    )
    supernet.activate(supernet.space.largest)
    supernet.eval()
    return training


def calibrated_teacher(supernet: SuperNet, subnet: SubnetSpec, bench: Bench, *, images: int) -> Detector:
    """Extracts a subnet as a plain detector and resets its BN on a fixed set of images (paper, section 4)."""
    teacher = extract(supernet, subnet).to(bench.device)
    there = len(bench.train_set.images)
    batch = min(CALIBRATION_BATCH, images, there)
    # The same images for every subnet, without mirroring, or teachers would differ by their draws.
    plan = training_plan(
        there,
        batch=batch,
        resolutions=bench.frames,
        flip=0.0,
        stream=bench.stream.child("calibration"),
    )
    reset_bn(teacher, bench.train.batches(plan[: max(1, images // batch)]))
    return teacher
