"""The bench that every stage works on: the data, the device, and one training over them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.data.loading import BatchLoader, Plan
from jdn_core.detector.backbone import Block
from jdn_core.processes.ranks import ALONE, Ranks
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import Resolution
from jdn_core.training.checkpoints import Checkpoints
from jdn_core.training.loop import Course, History, LossesOf, train
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import training_plan


class Training(NamedTuple):
    """What a training left behind beside the weights: mean losses per epoch, and its wall time in seconds."""

    losses: History
    seconds: float


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

    def close(self) -> None:
        """Ends the processes that load images, and frees the caches."""
        self.train.close()
        self.val.close()

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
        """Trains a module over the train split; every random draw is from a child of ``stream``."""

        def plan_of(epoch: int) -> Plan:
            images, draws = len(self.train_set.images), stream.child("epoch", epoch)
            return training_plan(
                images, batch=regime.batch, resolutions=self.frames, flip=self.flip, stream=draws
            )

        # Set for every training, because a module that goes from one to another keeps its attribute.
        for block in module.modules():
            if isinstance(block, Block):
                block.recompute = regime.recompute
        course = Course(stage, regime, plan_of, stream)
        started = time.monotonic()
        losses = train(
            module, passes, course=course, loader=self.train, checkpoints=checkpoints, ranks=self.ranks
        )
        return Training(losses, time.monotonic() - started)
