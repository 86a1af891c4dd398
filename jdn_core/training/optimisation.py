"""SGD, its momentum and the average of the weights, by the parameters' names, as checkpoints hold them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from jdn_core.detector.trunk import inside
from jdn_core.settings.training import TrainingSettings
from jdn_core.training.averaging import RunningAverage


class Optimisation:
    """SGD on a module and, if the regime wants it, the running average of its weights.

    Args:
        module: holds every parameter that is trained.
        regime: of the training.
        momentum: by parameters' names, to begin with; a parameter that is absent begins without.

    Attributes:
        module: that is trained.
    """

    def __init__(
        self, module: nn.Module, regime: TrainingSettings, *, momentum: Mapping[str, Tensor] | None = None
    ) -> None:
        self.module = module
        self._sgd = sgd(module, regime)
        self._average = RunningAverage(module) if regime.average else None
        self._set_momentum(momentum or {})

    def zero_grad(self) -> None:
        """Drops the gradients of the step before."""
        self._sgd.zero_grad()

    def step(self, rate: float, *, number: int, horizon: float) -> None:
        """Applies the gradients at a learning rate, and averages.

        Args:
            rate: of this step.
            number: of this step in the training, 0 for the first.
            horizon: of the average, in steps.
        """
        for group in self._sgd.param_groups:
            group["lr"] = rate
        self._sgd.step()
        if self._average is not None:
            self._average.add(step=number, horizon=horizon)

    def state(self) -> dict[str, Tensor]:
        """Returns weights as ``model.NAME``, ``momentum.NAME`` and, where there is one, ``average.NAME``."""
        averaged = self._average.state() if self._average is not None else {}
        return {**self._raw(), **averaged}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads what ``state`` returned."""
        self.module.load_state_dict(inside(tensors, "model."))
        self._set_momentum(inside(tensors, "momentum."))
        if self._average is not None:
            self._average.restore(tensors)

    def finish(self) -> dict[str, Tensor]:
        """Leaves the average in the module, where there is one, and returns weights and momentum without."""
        raw = self._raw()
        if self._average is not None:
            raw = {name: tensor.clone() for name, tensor in raw.items()}
            self._average.load_into_module()
        return raw

    def _raw(self) -> dict[str, Tensor]:
        momentum = {
            f"momentum.{name}": self._sgd.state[parameter]["momentum_buffer"]
            for name, parameter in self.module.named_parameters()
            if self._sgd.state.get(parameter, {}).get("momentum_buffer") is not None
        }
        weights = {f"model.{name}": tensor for name, tensor in self.module.state_dict().items()}
        return {**weights, **momentum}

    def _set_momentum(self, momentum: Mapping[str, Tensor]) -> None:
        for name, parameter in self.module.named_parameters():
            if name in momentum:
                # empty_like keeps the memory format, on which the order of float additions depends.
                buffer = torch.empty_like(parameter).copy_(momentum[name])
                self._sgd.state[parameter]["momentum_buffer"] = buffer


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
