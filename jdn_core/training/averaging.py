"""A running average of the weights: what a training at a constant rate measures, at the cost of no image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

PREFIX = "average."  # of its tensors in a checkpoint


class RunningAverage:
    """The mean of a module's parameters and buffers over its last steps; integers are those of the last step.

    It begins anew with every training. Its memory is ``average`` epochs and a piece of a lineage has about
    three, so that at a horizon of one epoch what came before would count exp(-3), 5 %, at the piece's end.

    Args:
        module: whose weights they are, on its device.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._means = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def add(self, *, step: int, horizon: float) -> None:
        """Moves every mean by ``1 / min(step + 1, horizon)`` of its distance to the weights (ours).

        Args:
            step: that was applied, 0 for the first of the training; its weights are then the mean.
            horizon: steps that the mean remembers; below 1 it is the weights themselves.
        """
        share = 1 / min(step + 1, max(horizon, 1.0))
        for name, tensor in self._module.state_dict().items():
            if tensor.is_floating_point():
                self._means[name].lerp_(tensor, share)
            else:
                self._means[name].copy_(tensor)

    def load_into_module(self) -> None:
        """Puts the means in the place of the weights."""
        self._module.load_state_dict(self._means)

    def state(self) -> dict[str, Tensor]:
        """Returns the means as ``average.NAME``."""
        return {f"{PREFIX}{name}": mean for name, mean in self._means.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads what ``state`` returned."""
        for name, mean in self._means.items():
            mean.copy_(tensors[f"{PREFIX}{name}"])
