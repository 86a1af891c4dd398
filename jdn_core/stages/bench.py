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
from jdn_core.detector.trunk import Trunk, trunk_of
from jdn_core.processes.ranks import ALONE, Ranks
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import Resolution
from jdn_core.training.checkpoints import Checkpoints
from jdn_core.training.loop import Course, History, LossesOf, train
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import training_plan


class Training(NamedTuple):
    """What a training left behind beside the weights.

    Attributes:
        losses: mean of each per epoch, oldest first.
        seconds: wall time.
        trunk: where a student goes on; none after a rate that fell, for its weights are those to go on from.
    """

    losses: History
    seconds: float
    trunk: Trunk | None = None


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
        start: Trunk | None = None,
    ) -> Training:
        """Trains a module over the train split; every random draw is from a child of ``stream``.

        Args:
            module: all that is trained.
            passes: give the losses (``training.loop.train``).
            stage: what the user reads beside the progress bar.
            regime: rates and epochs.
            stream: names the random draws.
            checkpoints: where to go on from.
            start: the detector inside the module whose training is gone on with; none for a super-network.
        """

        def plan_of(epoch: int) -> Plan:
            images, draws = len(self.train_set.images), stream.child("epoch", epoch)
            return training_plan(
                images, batch=regime.batch, resolutions=self.frames, flip=self.flip, stream=draws
            )

        # Set for every training, because a module that goes from one to another keeps its attribute.
        for block in module.modules():
            if isinstance(block, Block):
                block.recompute = regime.recompute
        place = _place(start.detector, module) if start else ""
        started = time.monotonic()
        losses, last = train(
            module,
            passes,
            course=Course(stage, regime, plan_of, stream),
            loader=self.train,
            checkpoints=checkpoints,
            ranks=self.ranks,
            momentum={f"{place}{name}": tensor for name, tensor in start.momentum.items()} if start else None,
        )
        seconds = time.monotonic() - started
        if start is None or regime.schedule != "constant":
            return Training(losses, seconds)
        return Training(losses, seconds, trunk_of(start.detector, last, place=place))


def _place(part: nn.Module, whole: nn.Module) -> str:
    """Returns what the names of a part's parameters begin with in the whole: ``student.``, or nothing."""
    name = next(name for name, module in whole.named_modules() if module is part)
    return f"{name}." if name else ""
