"""The backbone as a list of blocks: what torchvision's ``ResNet._make_layer`` cannot build.

Parameter names are regular, because surgery addresses tensors by them: ``stem.conv``, ``stem.bn``,
``stages.{s}.{b}.conv{i}``, ``.bn{i}``, ``.shortcut.conv``, ``.shortcut.bn``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from jdn_core.detector.convolution import SafeConv2d
from jdn_core.space.architecture import BackboneSpec, BlockSpec
from jdn_core.space.families import KERNELS


class ConvBN(nn.Module):
    """A convolution without bias, padded to keep the size, and its trainable BN; no activation."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = SafeConv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.bn(self.conv(x))
        return out


class Block(nn.Module):
    """A residual block, relu(F(x) + shortcut(x)): ``conv{i}``, ``bn{i}`` and perhaps ``shortcut``.

    Attributes:
        recompute: keep the input alone for the backward pass and compute all else again; changes no number.
    """

    recompute = False

    def __init__(self, spec: BlockSpec, inputs: int) -> None:
        super().__init__()
        self.spec = spec
        sides = KERNELS[spec.kind]
        widths = (inputs, *spec.channels)
        for i, side in enumerate(sides):
            stride = spec.stride if i == spec.strided else 1
            groups = spec.groups if side == 3 else 1
            layer = ConvBN(widths[i], widths[i + 1], kernel=side, stride=stride, groups=groups)
            self.add_module(f"conv{i + 1}", layer.conv)
            self.add_module(f"bn{i + 1}", layer.bn)
        self.shortcut = ConvBN(inputs, spec.out, stride=spec.stride) if spec.projection else None

    def layers(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Returns the residual branch's convolutions with their BNs, in order, without the shortcut."""
        return [
            (getattr(self, f"conv{i + 1}"), getattr(self, f"bn{i + 1}"))
            for i in range(len(self.spec.channels))
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, H, W] to [B, out, ceil(H / stride), ceil(W / stride)]."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return self._compute(x)
        # A block draws nothing, so its random state need not be kept; the default costs a copy per block.
        out: Tensor = checkpoint(
            self._compute, x, use_reentrant=False, preserve_rng_state=False, context_fn=self._contexts
        )
        return out

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Returns contexts for the first and for the second computation."""
        return nullcontext(), self._frozen_statistics()

    @contextmanager
    def _frozen_statistics(self) -> Iterator[None]:
        """Keeps BN's running averages as they are, while it normalises by the batch as usual."""
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            # Momentum 0 keeps the averages bit for bit; without a counter nothing is counted twice.
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            yield
        finally:
            for norm, (momentum, counted) in zip(norms, kept, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, counted

    def _compute(self, x: Tensor) -> Tensor:
        *firsts, (conv, bn) = self.layers()
        out = x
        for first, first_bn in firsts:
            out = functional.relu(first_bn(first(out)), inplace=True)
        out = bn(conv(out)) + (x if self.shortcut is None else self.shortcut(x))
        return functional.relu(out, inplace=True)


class Backbone(nn.Module):
    """Stem and four stages; C2..C5 under the names "0".."3", strides 4, 8, 16, 32.

    Weights start as for training from scratch: Kaiming normal (fan out) convolutions, every BN weight one.
    The last BN of a block does not start at zero: its weights rank the channels for pruning.
    """

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = ConvBN(3, spec.stem, kernel=7, stride=2)
        stages: list[list[nn.Module]] = [[], [], [], []]
        for (stage, _, block), inputs in zip(spec.blocks(), spec.inputs(), strict=True):
            stages[stage].append(Block(block, inputs))
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Maps normalised images [B, 3, H, W] to C2..C5; level l is [B, outs[l], ceil(H / 2^(l+2)), ...]."""
        x = functional.relu(self.stem(x), inplace=True)
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        levels: OrderedDict[str, Tensor] = OrderedDict()
        for name, stage in enumerate(self.stages):
            x = stage(x)
            levels[str(name)] = x
        return levels
