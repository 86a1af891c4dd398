"""The base detector's training at dynamic resolution (paper, section 3.1.2 and A.3)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector
from jdn_core.detector.trunk import Trunk
from jdn_core.distillation.losses import bn_sparsity
from jdn_core.settings.training import TrainingSettings
from jdn_core.stages.bench import Bench, Training
from jdn_core.training.checkpoints import Checkpoints


def fit_base(
    start: Callable[[], Detector],
    bench: Bench,
    *,
    regime: TrainingSettings,
    sparsity: float,
    checkpoints: Checkpoints | None = None,
    stage: str = "base",
) -> tuple[Detector, Training]:
    """Trains the base at dynamic resolution, with the sparsity that pruning needs later (paper, A.3).

    ``start`` makes what is trained, from scratch or pretrained, with the run's draws for what is fresh. A
    regime without epochs leaves it as it is.

    ``stage`` is what the user reads beside the progress bar. The draws are the base's whatever it says, so
    that a longer training differs from the base's in nothing else.
    """
    stream = bench.stream.child("base")
    # Seeded before anything is built, so that the weights do not depend on what ran before.
    stream.child("init").seed_torch()
    detector = start().to(bench.device)

    def losses_of(batch: Batch, _: int) -> dict[str, Tensor]:
        output = detector.training_step(batch.images, batch.sizes, batch.targets)
        return {**output.losses, "loss_sparsity": sparsity * bn_sparsity(detector.backbone)}

    training = bench.fit(
        detector,
        [losses_of],
        stage=stage,
        regime=regime,
        stream=stream,
        checkpoints=checkpoints,
        start=Trunk(detector),
    )
    return detector.eval(), training
