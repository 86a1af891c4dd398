"""The learning rate as a pure function of the iteration."""

from __future__ import annotations

import math
from typing import assert_never

from jdn_core.settings.training import TrainingSettings


def learning_rate(regime: TrainingSettings, *, iteration: int, total: int) -> float:
    """Returns the rate of one iteration, 0 <= iteration < total: the schedule times a linear warm-up."""
    share = iteration / total
    match regime.schedule:
        case "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * share))
        case "step":
            factor = 0.1 ** sum(share >= step for step in regime.steps)
        case "constant":
            # Warm-up, stable, decay (Hu et al. 2024, MiniCPM, section 4): a training can be gone on with from
            # any step of its stable part, so a lineage of students is one training.
            factor = min(1.0, (1 - share) / regime.cooldown) if regime.cooldown else 1.0
        case schedule:
            assert_never(schedule)
    # Short trainings (ours): 500 iterations of warm-up would be all that a fast evaluation has.
    warmup = min(regime.warmup, total // 4)
    return regime.lr * factor * min(1.0, (iteration + 1) / (warmup + 1))
