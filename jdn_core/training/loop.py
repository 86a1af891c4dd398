"""The one training loop; distillation, sparsity and elasticity are in the losses that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from jdn_core.data.loading import Batch, BatchLoader, Plan
from jdn_core.errors import Diverged
from jdn_core.faults import faultpoint
from jdn_core.processes import stopping
from jdn_core.processes.progress import report
from jdn_core.processes.ranks import ALONE, Ranks
from jdn_core.settings.sections import TrainingSettings
from jdn_core.training import optimisation
from jdn_core.training.checkpoints import Checkpoint, Checkpoints
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


@dataclass
class _Standing:
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
) -> History:
    """Trains until the regime's last epoch, from the newest checkpoint if there is one.

    Args:
        module: holds every parameter that is trained; left in training mode.
        passes: each (batch on the module's device, iteration) -> losses by name; the mean over the passes of
            their sum is minimised. Each pass has its gradients done before the next one begins.
        course: what to train through.
        loader: makes the plan's batches.
        checkpoints: one is saved after every epoch, now and then inside a long one, and before a stop.
        ranks: the processes that train this together, each with its own copy of everything.

    Returns:
        Mean of every loss per epoch, oldest first.

    Raises:
        Diverged: a loss or a gradient is not finite; the step was not applied.
        Stopped: somebody asked for it; the checkpoint holds every step that was applied.
    """
    optimizer = optimisation.sgd(module, course.regime)
    standing = _Standing()
    if found := checkpoints.load() if checkpoints else None:
        optimisation.restore(module, optimizer, found.tensors)
        standing = _Standing(found.epochs, found.steps, dict(found.sums), dict(found.history))
    if wish := ranks.agree(stopping.requested()):
        raise stopping.Stopped(wish)
    module.train()
    room = course.stage.partition(" ")[0]
    while standing.epochs < course.regime.epochs:
        epoch = _steps(
            module, optimizer, passes, standing=standing, course=course, loader=loader, ranks=ranks
        )
        for _ in epoch:
            faultpoint(f"{room}.{'mid_epoch' if standing.steps else 'epoch_end'}")
            wish = ranks.agree(stopping.requested())
            ended = standing.steps == 0
            if checkpoints and ranks.first and (wish or ended or checkpoints.due):
                checkpoints.save(standing.checkpoint(optimisation.state(module, optimizer)))
                faultpoint(f"{room}.checkpointed")
            if wish:
                raise stopping.Stopped(wish)
    faultpoint(f"{room}.trained")
    return standing.history


def _steps(
    module: nn.Module,
    optimizer: torch.optim.SGD,
    passes: Sequence[LossesOf],
    *,
    standing: _Standing,
    course: Course,
    loader: BatchLoader,
    ranks: Ranks,
) -> Iterator[None]:
    """Goes through the rest of the running epoch and pauses after every step."""
    epoch, regime = standing.epochs, course.regime
    device = next(module.parameters()).device
    plan = course.plan_of(epoch)
    total = regime.epochs * len(plan)
    dealt = [
        deal(samples, most=regime.device_batch, devices=ranks.count)[ranks.number :: ranks.count]
        for samples in plan[standing.steps :]
    ]
    batches = loader.batches([part.samples for parts in dealt for part in parts])
    last_finite = math.nan
    for parts in dealt:
        step = standing.steps
        iteration = epoch * len(plan) + step
        rate = learning_rate(regime, iteration=iteration, total=total)
        optimizer.zero_grad()
        seen = ((part, next(batches).to(device)) for part in parts)
        losses = ranks.add_losses(_gradients(passes, seen, course=course, iteration=iteration))
        ranks.add_gradients(module.parameters())
        loss = torch.stack(list(losses.values())).sum()
        norm = nn.utils.clip_grad_norm_(module.parameters(), regime.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(course.stage, epoch=epoch, step=step, rate=rate, last_finite=last_finite)
        optimisation.step(optimizer, rate)
        last_finite = loss.item()
        standing.add(losses, steps=len(plan))
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
            (draws.child("part", part.number) if part.number else draws).seed_torch()
            with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=narrow):
                losses = losses_of(batch, iteration)
            (weight * torch.stack(list(losses.values())).sum()).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + weight * value.detach()
    return sums
