"""Convolutions that are safe to train on CPUs.

In torch 2.13 the backward pass of a strided 1x1 convolution of fewer than 16 channels, channels-last, on a
CPU writes beyond its memory (oneDNN; 8 to 16 channels at 96x128, batch 4, every time): the process dies, or
goes on with other numbers in it. Such a convolution reads every second cell alone, so taking these cells
first leaves one without stride, which computes the same and is safe.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_SAFE = 16  # input channels: from here on no size was found that fails


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, *, like: nn.Conv2d) -> Tensor:
    """Convolves [B, c, H, W] with these weights, and stride, padding and groups of a layer."""
    stride = like.stride
    if input.shape[1] < _SAFE and like.kernel_size == (1, 1) and stride != (1, 1):
        input, stride = input[:, :, :: stride[0], :: stride[1]], (1, 1)
    return functional.conv2d(input, weight, bias, stride, like.padding, 1, like.groups)


class SafeConv2d(nn.Conv2d):
    """torch's convolution, safe in training too."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps [B, in_channels, H, W] to [B, out_channels, H', W']."""
        return conv2d(input, self.weight, self.bias, like=self)
