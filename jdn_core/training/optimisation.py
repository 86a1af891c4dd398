"""The optimizer and its state by the parameters' names, as checkpoints hold it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from jdn_core.settings.training import TrainingSettings


def sgd(module: nn.Module, regime: TrainingSettings) -> torch.optim.SGD:
    """Makes SGD with momentum that spares vectors (BN, biases) from weight decay."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # Decay pulls BN's scales to zero without any use (He et al. 2019, Bag of tricks, section 3.1); pruning
    # has its own sparsity loss for them.
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": regime.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=regime.lr, momentum=regime.momentum
    )


def step(optimizer: torch.optim.SGD, rate: float) -> None:
    """Applies the gradients at a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


def state(module: nn.Module, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    """Returns parameters and buffers as ``model.NAME`` and momentum as ``momentum.NAME``."""
    momentum = {
        f"momentum.{name}": optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in module.named_parameters()
        if optimizer.state.get(parameter, {}).get("momentum_buffer") is not None
    }
    return {**{f"model.{name}": tensor for name, tensor in module.state_dict().items()}, **momentum}


def restore(module: nn.Module, optimizer: torch.optim.SGD, tensors: Mapping[str, Tensor]) -> None:
    """Loads what ``state`` returned."""
    module.load_state_dict(
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    )
    for name, parameter in module.named_parameters():
        buffer = tensors.get(f"momentum.{name}")
        if buffer is not None:
            # empty_like keeps the parameter's memory format, on which the order of float additions depends.
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
