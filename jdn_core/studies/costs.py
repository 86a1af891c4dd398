"""What trainings cost: images times multiply-accumulates of every forward pass, and seconds (ours).

A backward pass costs twice the forward pass of whatever is trained, on every machine alike, so forward passes
compare trainings. An iteration's resolution is drawn, so an image counts with the mean over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean
from typing import Any

from jdn_core.evaluation.complexity import complexity
from jdn_core.pool.shrinking import Phase, draws_for
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.teachers import SubnetSpec
from jdn_core.training.randomness import Stream


@dataclass(frozen=True)
class Cost:
    """Of trainings: images x MACs of all forward passes, a teacher's among them, and seconds."""

    image_macs: float = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.image_macs + other.image_macs, self.seconds + other.seconds)

    def without(self, other: Cost) -> Cost:
        """Returns what is left when a part is taken off."""
        return Cost(self.image_macs - other.image_macs, self.seconds - other.seconds)

    def to_json(self) -> dict[str, Any]:
        return {"image_macs": self.image_macs, "seconds": self.seconds}


def macs_per_image(spec: DetectorSpec, frames: Sequence[Resolution]) -> float:
    """Returns the MACs of one image, whose resolution is drawn among the frames."""
    return mean(complexity(spec, frame).macs for frame in frames)


def images_of(regime: TrainingSettings, images: int) -> int:
    """Returns how many images a training sees in all; what fills no whole batch is left out of an epoch."""
    return regime.epochs * (images // regime.batch) * regime.batch


def training_cost(
    specs: Iterable[DetectorSpec], regime: TrainingSettings, *, images: int, frames: Sequence[Resolution]
) -> float:
    """Returns images x MACs of a training through which every image passes these detectors.

    Args:
        specs: the student and, where it has one, its teacher.
        regime: rates and epochs.
        images: of the training split.
        frames: resolutions that are drawn from.
    """
    return images_of(regime, images) * sum(macs_per_image(spec, frames) for spec in specs)


def phase_cost(
    phase: Phase, template: DetectorSpec, *, stream: Stream, images: int, frames: Sequence[Resolution]
) -> float:
    """Returns images x MACs of the subnets that a phase of the pool draws, without its teacher's.

    Args:
        phase: of the pool.
        template: of the subnets' detectors.
        stream: of the phase's training, which the draws follow from.
        images: of the training split.
        frames: resolutions that are drawn from.
    """

    @cache
    def macs(subnet: SubnetSpec) -> float:
        return macs_per_image(phase.space.detector_spec(subnet, template), frames)

    batch = phase.training.batch
    iterations = images_of(phase.training, images) // batch
    return batch * sum(macs(each) for i in range(iterations) for each in draws_for(stream, phase, i))
