"""Layers that compute with their first channels only, so that one set of weights serves every subnet.

Nothing is masked: weights are sliced, so a subnet costs what it would cost extracted. Input channels follow
the input; only a convolution needs to know how many outputs are wanted. Parameter names and shapes are those
of the plain layers.
"""

from __future__ import annotations

from itertools import islice
from typing import cast

from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm  # what nn.SyncBatchNorm calls, for any width

from jdn_core.detector.convolution import conv2d


class ElasticConv2d(nn.Conv2d):
    """A convolution, [B, c, H, W] -> [B, active, H', W'] for any c up to ``in_channels``.

    Attributes:
        active: output channels in use, 1..out_channels.
    """

    active: int

    @classmethod
    def of(cls, conv: nn.Conv2d) -> ElasticConv2d:
        """Makes an elastic layer that shares the parameters of a plain one, all channels in use.

        Raises:
            ValueError: the convolution is grouped, so its first outputs do not read its first inputs.
        """
        if conv.groups != 1:
            raise ValueError(f"an elastic convolution must have one group, got {conv.groups}")
        # On the meta device, because its fresh weights are replaced at once.
        elastic = cls(
            conv.in_channels,
            conv.out_channels,
            (conv.kernel_size[0], conv.kernel_size[1]),
            (conv.stride[0], conv.stride[1]),
            cast(tuple[int, int], conv.padding),
            bias=conv.bias is not None,
            device="meta",
        )
        elastic.weight, elastic.bias = conv.weight, conv.bias
        elastic.active = conv.out_channels
        return elastic

    def forward(self, input: Tensor) -> Tensor:
        weight = _leading(self.weight, self.active, input.shape[1])
        bias = None if self.bias is None else _first(self.bias, self.active)
        return conv2d(input, weight, bias, like=self)


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """BN of [B, c, H, W] for any c up to ``num_features``; all widths share weights and statistics.

    Attributes:
        synchronised: normalise by the statistics of all processes of torch's default group, which train the
            same layers at the same widths; on GPUs alone.
    """

    synchronised = False

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> ElasticBatchNorm2d:
        """Makes an elastic layer that shares the parameters and buffers of a plain one."""
        elastic = cls(norm.num_features, norm.eps, norm.momentum, device="meta")
        elastic.weight, elastic.bias = norm.weight, norm.bias
        elastic.running_mean, elastic.running_var = norm.running_mean, norm.running_var
        elastic.num_batches_tracked = norm.num_batches_tracked
        return elastic

    def forward(self, input: Tensor) -> Tensor:
        channels = input.shape[1]
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise RuntimeError("an elastic BN needs running statistics and a momentum")
        mean, variance = self.running_mean[:channels], self.running_var[:channels]
        weight, bias = _first(self.weight, channels), _first(self.bias, channels)
        if self.synchronised and self.training:
            group, count = distributed.group.WORLD, distributed.get_world_size()
            synchronised: Tensor = SyncBatchNorm.apply(  # type: ignore[no-untyped-call]
                input, weight, bias, mean, variance, self.eps, self.momentum, group, count
            )
            return synchronised
        return functional.batch_norm(
            input,
            mean,
            variance,
            weight,
            bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )


class ElasticLinear(nn.Linear):
    """A linear layer, [N, c] -> [N, out_features] for any c up to ``in_features``.

    Flattened feature maps are channel-major, so their first columns are those of the first channels.
    """

    @classmethod
    def of(cls, linear: nn.Linear) -> ElasticLinear:
        """Makes an elastic layer that shares the parameters of a plain one."""
        elastic = cls(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        elastic.weight, elastic.bias = linear.weight, linear.bias
        return elastic

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, _leading(self.weight, self.out_features, input.shape[1]), self.bias)


class ElasticStage(nn.Sequential):
    """A stage whose first ``active`` blocks run, 1..len."""

    active: int

    def forward(self, input: Tensor) -> Tensor:
        for block in islice(self, self.active):
            input = block(input)
        return input


def _leading(weight: Tensor, outputs: int, inputs: int) -> Tensor:
    """Slices the first outputs and inputs; returns the weight itself if that is all: no node for autograd."""
    return weight if weight.shape[:2] == (outputs, inputs) else weight[:outputs, :inputs]


def _first(vector: Tensor, channels: int) -> Tensor:
    """Slices the first elements; the vector itself if that is all."""
    return vector if len(vector) == channels else vector[:channels]
