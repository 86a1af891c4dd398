"""What an epoch shows: image order, mirroring, and one resolution per iteration (paper, section 3.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from jdn_core.data.coco.dataset import ImageRecord
from jdn_core.data.loading import Plan, Sample
from jdn_core.space.architecture import Resolution
from jdn_core.training.randomness import Stream

FrameOf = Callable[
    [int, int, Resolution], Resolution
]  # of a picture's width and height, and the frame asked for


def training_plan(
    images: int, *, batch: int, resolutions: Sequence[Resolution], flip: float, stream: Stream
) -> Plan:
    """Plans every image at most once, in random order; what fills no whole batch is left out for the epoch.

    Args:
        images: number of images, at least one batch of them.
        batch: images an iteration.
        resolutions: one is drawn for each iteration.
        flip: chance of a mirrored image.
        stream: names the epoch; equal streams give equal plans.

    Raises:
        ValueError: there are fewer images than one batch holds.
    """
    if images < batch:
        raise ValueError(f"batch must be <= the number of training images ({images}), got {batch}")
    generator = stream.generator()
    order = torch.randperm(images, generator=generator).tolist()
    mirrored = (torch.rand(images, generator=generator) < flip).tolist()
    # One resolution per iteration, not per image, because a batch is one tensor (paper, section 3.1.2).
    drawn = torch.randint(len(resolutions), (images // batch,), generator=generator).tolist()
    return [
        [Sample(image, resolutions[frame], mirrored[image]) for image in order[start : start + batch]]
        for start, frame in zip(range(0, images - batch + 1, batch), drawn, strict=True)
    ]


def evaluation_plan(images: int, *, batch: int, resolution: Resolution) -> Plan:
    """Plans every image once, in the dataset's order, never mirrored."""
    return [
        [Sample(image, resolution, False) for image in range(start, min(start + batch, images))]
        for start in range(0, images, batch)
    ]


def framed(plan: Plan, images: Sequence[ImageRecord], frame_of: FrameOf) -> Plan:
    """Returns the plan with a frame for each image, for a detector whose input cannot be turned."""
    return [
        [
            replace(
                sample,
                resolution=frame_of(
                    images[sample.image].width, images[sample.image].height, sample.resolution
                ),
            )
            for sample in batch
        ]
        for batch in plan
    ]


@dataclass(frozen=True)
class Part:
    """What a device sees at once of an iteration's batch.

    Attributes:
        number: among the batch's parts; draws depend on it.
        samples: at least one.
        share: of the batch's images, in (0, 1].
    """

    number: int
    samples: Sequence[Sample]
    share: float


def deal(batch: Sequence[Sample], *, most: int | None = None, devices: int = 1) -> tuple[Part, ...]:
    """Deals a batch out in turn, into as few parts as possible and as many for every device.

    Part n is for device n modulo ``devices``, so which parts there are depends on nothing but their number.

    Args:
        batch: a multiple of ``devices`` samples.
        most: images that a device takes at once; none: as many as there are.
        devices: that share the batch.
    """
    each = len(batch) // devices
    count = devices * -(-each // (most or each))
    hands = [batch[number::count] for number in range(count)]
    return tuple(Part(number, hand, len(hand) / len(batch)) for number, hand in enumerate(hands))
