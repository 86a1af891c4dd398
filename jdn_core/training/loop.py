"""The one training loop; distillation, sparsity and elasticity are in the losses that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from jdn_core.data.loading import Batch, BatchLoader, Plan
from jdn_core.errors import Diverged
from jdn_core.faults import faultpoint
from jdn_core.processes import stopping
from jdn_core.processes.progress import report
from jdn_core.processes.ranks import ALONE, Ranks
from jdn_core.settings.training import TrainingSettings
from jdn_core.training.checkpoints import Checkpoint, Checkpoints
from jdn_core.training.optimisation import Optimisation
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import Part, deal
from jdn_core.training.schedules import learning_rate

LossesOf = Callable[[Batch, int], Mapping[str, Tensor]]
History = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Course:
    """What one training goes through, apart from the model.

    Attributes:
        stage: what the user reads beside the progress bar.
        regime: rates and epochs.
        plan_of: epoch -> what it shows.
        stream: names every random draw of this training.
    """

    stage: str
    regime: TrainingSettings
    plan_of: Callable[[int], Plan]
    stream: Stream


class Trained(NamedTuple):
    """What a training leaves behind beside the weights.

    Attributes:
        losses: mean of every loss per epoch, oldest first.
        last: raw weights after the last step as ``model.NAME`` and SGD's momentum as ``momentum.NAME``. The
            module itself has the average, where the regime wants one.
    """

    losses: History
    last: Mapping[str, Tensor]


@dataclass
class _Position:
    """How far a training is: whole epochs, and the steps of the running one with the sums of their losses."""

    epochs: int = 0
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: History = field(default_factory=dict)

    def add(self, losses: Mapping[str, Tensor], *, steps: int) -> None:
        """Counts an applied step of an epoch that has so many; at its end sums become means."""
        self.steps += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item()
        if self.steps == steps:
            for name, total in self.sums.items():
                self.history[name] = (*self.history.get(name, ()), total / steps)
            self.epochs, self.steps, self.sums = self.epochs + 1, 0, {}

    def checkpoint(self, tensors: Mapping[str, Tensor]) -> Checkpoint:
        return Checkpoint(self.epochs, tensors, self.history, self.steps, self.sums)


def train(
    module: nn.Module,
    passes: Sequence[LossesOf],
    *,
    course: Course,
    loader: BatchLoader,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
    momentum: Mapping[str, Tensor] | None = None,
) -> Trained:
    """Trains until the regime's last epoch, from the newest checkpoint if there is one.

    Args:
        module: holds every parameter that is trained; left in training mode.
        passes: each (batch on the module's device, iteration) -> losses by name; the mean over the passes of
            their sum is minimised. Each pass has its gradients done before the next one begins.
        course: what to train through.
        loader: makes the plan's batches.
        checkpoints: one is saved after every epoch, now and then inside a long one, and before a stop.
        ranks: the processes that train this together, each with its own copy of everything.
        momentum: that SGD begins with, by parameters' names; a checkpoint has its own.

    Raises:
        Diverged: a loss or a gradient is not finite; the step was not applied.
        Stopped: a stop was requested; the checkpoint holds every step that was applied.
    """
    optimisation = Optimisation(module, course.regime, momentum=momentum)
    position = _Position()
    if found := checkpoints.load() if checkpoints else None:
        optimisation.restore(found.tensors)
        position = _Position(found.epochs, found.steps, dict(found.sums), dict(found.history))
    # Ranks agree before every step: one that stopped alone would leave the others in a sum without end.
    if signal := ranks.agree(stopping.requested()):
        raise stopping.Stopped(signal)
    module.train()
    room = course.stage.partition(" ")[0]  # of the names of fault points: base, pool or pair
    while position.epochs < course.regime.epochs:
        # A generator of one epoch: its loader's batches end with it, and a checkpoint fits between two steps.
        for _ in _steps(optimisation, passes, position=position, course=course, loader=loader, ranks=ranks):
            faultpoint(f"{room}.{'mid_epoch' if position.steps else 'epoch_end'}")
            signal = ranks.agree(stopping.requested())
            ended = position.steps == 0
            if checkpoints and ranks.first and (signal or ended or checkpoints.due):
                checkpoints.save(position.checkpoint(optimisation.state()))
                faultpoint(f"{room}.checkpointed")
            if signal:
                raise stopping.Stopped(signal)
    faultpoint(f"{room}.trained")
    return Trained(position.history, optimisation.finish())


def _steps(
    optimisation: Optimisation,
    passes: Sequence[LossesOf],
    *,
    position: _Position,
    course: Course,
    loader: BatchLoader,
    ranks: Ranks,
) -> Iterator[None]:
    """Goes through the rest of the running epoch and pauses after every step."""
    epoch, regime, module = position.epochs, course.regime, optimisation.module
    device = next(module.parameters()).device
    plan = course.plan_of(epoch)
    total = regime.epochs * len(plan)
    # Parts are dealt over all ranks, so an iteration sees the same images however many there are.
    dealt = [
        deal(samples, most=regime.device_batch, devices=ranks.count)[ranks.number :: ranks.count]
        for samples in plan[position.steps :]
    ]
    batches = loader.batches([part.samples for parts in dealt for part in parts])
    last_finite = math.nan
    for parts in dealt:
        step = position.steps
        iteration = epoch * len(plan) + step
        rate = learning_rate(regime, iteration=iteration, total=total)
        optimisation.zero_grad()
        seen = ((part, next(batches).to(device)) for part in parts)
        losses = ranks.add_losses(_gradients(passes, seen, course=course, iteration=iteration))
        ranks.add_gradients(module.parameters())
        loss = torch.stack(list(losses.values())).sum()
        # The norm is infinite or NaN as soon as one gradient is, so two numbers tell of all of them.
        norm = nn.utils.clip_grad_norm_(module.parameters(), regime.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(course.stage, epoch=epoch, step=step, rate=rate, last_finite=last_finite)
        optimisation.step(rate, number=iteration, horizon=regime.average * len(plan))
        last_finite = loss.item()
        position.add(losses, steps=len(plan))
        note = f"epoch {epoch + 1}/{regime.epochs} loss {last_finite:.3f}"
        report(course.stage, iteration + 1, total, note)
        yield


def _gradients(
    passes: Sequence[LossesOf], seen: Iterable[tuple[Part, Batch]], *, course: Course, iteration: int
) -> dict[str, Tensor]:
    """Adds up the gradients of an iteration's parts and gives its losses: means over images and passes."""
    draws, narrow = course.stream.child("step", iteration), course.regime.precision == "bfloat16"
    sums: dict[str, Tensor] = {}
    for part, batch in seen:
        weight = part.share / len(passes)
        for losses_of in passes:
            # RoI and anchor sampling draw from torch's generator; every pass of a part draws the same.
            (draws.child("part", part.number) if part.number else draws).seed_torch()
            with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=narrow):
                losses = losses_of(batch, iteration)
            (weight * torch.stack(list(losses.values())).sum()).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + weight * value.detach()
    return sums
