"""The one training loop; distillation, sparsity and elasticity are in the losses that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jdn_core.data.loading import Batch, BatchLoader, Plan
from jdn_core.errors import Diverged
from jdn_core.progress import report
from jdn_core.settings import TrainingSettings
from jdn_core.training.checkpoints import Checkpoint, Checkpoints
from jdn_core.training.randomness import Stream
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


def train(
    module: nn.Module,
    losses_of: LossesOf,
    *,
    course: Course,
    loader: BatchLoader,
    checkpoints: Checkpoints | None = None,
) -> History:
    """Trains until the regime's last epoch, from the newest checkpoint if there is one.

    Args:
        module: holds every parameter that is trained; left in training mode.
        losses_of: (batch on the module's device, iteration) -> losses by name; their sum is minimised.
        course: what to train through.
        loader: makes the plan's batches.
        checkpoints: one is saved after every epoch.

    Returns:
        Mean of every loss per epoch, oldest first.

    Raises:
        Diverged: a loss or a gradient is not finite; the step was not applied.
    """
    optimizer = _optimizer(module, course.regime)
    found = checkpoints.load() if checkpoints else None
    history: History = dict(found.history) if found else {}
    if found:
        _restore(module, optimizer, found.tensors)
    module.train()
    for epoch in range(found.epochs if found else 0, course.regime.epochs):
        means = _epoch(module, optimizer, losses_of, course=course, epoch=epoch, loader=loader)
        history = {name: (*history.get(name, ()), mean) for name, mean in means.items()}
        if checkpoints and epoch + 1 < course.regime.epochs:
            checkpoints.save(Checkpoint(epoch + 1, _state(module, optimizer), history))
    return history


def _epoch(
    module: nn.Module,
    optimizer: torch.optim.SGD,
    losses_of: LossesOf,
    *,
    course: Course,
    epoch: int,
    loader: BatchLoader,
) -> dict[str, float]:
    device = next(module.parameters()).device
    plan, regime = course.plan_of(epoch), course.regime
    total = regime.epochs * len(plan)
    sums: dict[str, float] = {}
    last_finite = math.nan
    for step, batch in enumerate(loader.batches(plan)):
        iteration = epoch * len(plan) + step
        rate = learning_rate(regime, iteration=iteration, total=total)
        course.stream.child("step", iteration).seed_torch()
        losses = losses_of(batch.to(device), iteration)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(module.parameters(), regime.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(course.stage, epoch=epoch, step=step, rate=rate, last_finite=last_finite)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        last_finite = loss.item()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        report(
            course.stage, iteration + 1, total, f"epoch {epoch + 1}/{regime.epochs} loss {last_finite:.3f}"
        )
    return {name: value / len(plan) for name, value in sums.items()}


def _optimizer(module: nn.Module, regime: TrainingSettings) -> torch.optim.SGD:
    """SGD that spares vectors (BN, biases) from weight decay."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": regime.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=regime.lr, momentum=regime.momentum
    )


def _state(module: nn.Module, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    momentum = {
        f"momentum.{name}": optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in module.named_parameters()
        if optimizer.state.get(parameter, {}).get("momentum_buffer") is not None
    }
    return {**{f"model.{name}": tensor for name, tensor in module.state_dict().items()}, **momentum}


def _restore(module: nn.Module, optimizer: torch.optim.SGD, tensors: Mapping[str, Tensor]) -> None:
    module.load_state_dict(
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    )
    for name, parameter in module.named_parameters():
        buffer = tensors.get(f"momentum.{name}")
        if buffer is not None:
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
