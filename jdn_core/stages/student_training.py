"""A pair's fast evaluation: a few epochs of the student under its teacher (paper, section 3.1.4 and A.1)."""

from __future__ import annotations

from torch import Tensor, nn

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector
from jdn_core.detector.trunk import Trunk
from jdn_core.distillation.distiller import Distiller
from jdn_core.distillation.losses import bn_sparsity
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.settings.training import TrainingSettings
from jdn_core.stages.bench import Bench, Training
from jdn_core.training.checkpoints import Checkpoints
from jdn_core.training.randomness import Stream


def fit_student(
    start: Trunk,
    teacher: Detector | None,
    bench: Bench,
    *,
    stream: Stream,
    regime: TrainingSettings,
    distillation: DistillationSettings,
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Trains a student for a few epochs under its teacher, in place (paper, section 3.1.4 and A.1).

    Args:
        start: the student, whose training is gone on with.
        teacher: frozen from here on; none: the student learns from the photos alone.
        bench: data and device.
        stream: names the random draws; its last two names, such as ``pair 7``, are what the user reads
            beside the progress bar.
        regime: rates and epochs.
        distillation: weights of the losses.
        checkpoints: where to go on from.
    """
    student = start.detector
    stream.child("init").seed_torch()
    modules, distiller = nn.ModuleDict({"student": student}), None
    if teacher is not None:
        distiller = Distiller(teacher, student.spec, distillation).to(bench.device)
        modules["distiller"] = distiller

    def losses_of(batch: Batch, _: int) -> dict[str, Tensor]:
        output = student.training_step(batch.images, batch.sizes, batch.targets)
        distilled = distiller(output, batch.images, batch.sizes, batch.targets) if distiller else {}
        sparsity = distillation.sparsity * bn_sparsity(student.backbone)
        return {**output.losses, **distilled, "loss_sparsity": sparsity}

    # The distiller's adaptors are trained along with the student and are dropped afterwards.
    stage = " ".join(map(str, stream.path[-2:]))
    training = bench.fit(
        modules,
        [losses_of],
        stage=stage,
        regime=regime,
        stream=stream,
        checkpoints=checkpoints,
        start=start,
    )
    student.eval()
    return training
