"""What a detector costs, from its specification alone: no module is built and torch is not imported.

Counted are the multiply-accumulates of convolutions and linear layers at the exact frame, without padding
(FACTS, section 1), and all trainable parameters, BN's weights and biases included.
"""

from __future__ import annotations

from dataclasses import dataclass

from jdn_core.space.architecture import BlockSpec, DetectorSpec, Resolution
from jdn_core.space.families import KERNELS

Size = tuple[int, int]


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates for one image, and parameters; both whole numbers."""

    macs: int = 0
    params: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params)


@dataclass(frozen=True)
class Complexity:
    """The costs of a detector's parts; ``stages`` are the four that give C2..C5."""

    stem: Cost
    stages: tuple[Cost, ...]
    neck: Cost
    rpn: Cost
    head: Cost

    @property
    def backbone_macs(self) -> int:
        return self._backbone.macs

    @property
    def backbone_params(self) -> int:
        return self._backbone.params

    @property
    def macs(self) -> int:
        return self._whole.macs

    @property
    def params(self) -> int:
        return self._whole.params

    @property
    def _backbone(self) -> Cost:
        return _total(self.stem, *self.stages)

    @property
    def _whole(self) -> Cost:
        return _total(self._backbone, self.neck, self.rpn, self.head)


def complexity(spec: DetectorSpec, resolution: Resolution) -> Complexity:
    """Counts the costs of one image of exactly ``resolution``, with ``spec.region.proposals[1]`` RoIs."""
    backbone = spec.backbone
    size = _halved((resolution.width, resolution.height))
    stem = _conv(3, backbone.stem, 7, size)
    size = _halved(size)  # the max-pool
    inputs, stages, sizes = backbone.stem, [], []
    for blocks in backbone.stages:
        costs = []
        for block in blocks:
            cost, size = _block(block, inputs, size)
            costs.append(cost)
            inputs = block.out
        stages.append(_total(*costs))
        sizes.append(size)
    neck = _total(*(_lateral(spec, width, size) for width, size in zip(backbone.outs, sizes, strict=True)))
    rpn = _rpn(spec, [*sizes, _halved(sizes[-1])])
    return Complexity(stem, tuple(stages), neck, rpn, _head(spec))


def _block(block: BlockSpec, inputs: int, size: Size) -> tuple[Cost, Size]:
    after = _halved(size) if block.stride == 2 else size
    cost = _conv(inputs, block.out, 1, after) if block.projection else Cost()
    for i, (kernel, outputs) in enumerate(zip(KERNELS[block.kind], block.channels, strict=True)):
        groups = block.groups if kernel == 3 else 1
        cost += _conv(inputs, outputs, kernel, after if i >= block.strided else size, groups=groups)
        inputs = outputs
    return cost, after


def _conv(inputs: int, outputs: int, kernel: int, size: Size, *, groups: int = 1) -> Cost:
    """Counts a convolution without bias and its BN; ``size`` is the output's."""
    weights = inputs // groups * outputs * kernel**2
    return Cost(weights * size[0] * size[1], weights + 2 * outputs)


def _lateral(spec: DetectorSpec, width: int, size: Size) -> Cost:
    """Counts one pyramid level: 1x1 from C_l, then 3x3, with biases."""
    weights = width * spec.neck + 9 * spec.neck**2
    return Cost(weights * size[0] * size[1], weights + 2 * spec.neck)


def _rpn(spec: DetectorSpec, sizes: list[Size]) -> Cost:
    """Counts a 3x3 convolution, one logit and four deltas an anchor, shared by all levels."""
    outputs = 5 * len(spec.region.aspect_ratios)
    weights = 9 * spec.neck**2 + spec.neck * outputs
    return Cost(weights * sum(w * h for w, h in sizes), weights + spec.neck + outputs)


def _head(spec: DetectorSpec) -> Cost:
    """Counts two fully connected layers, class logits and deltas per class, for every RoI."""
    outputs = 5 * (len(spec.classes) + 1)
    weights = spec.neck * spec.region.pooled**2 * spec.head + spec.head**2 + spec.head * outputs
    return Cost(weights * spec.region.proposals[1], weights + 2 * spec.head + outputs)


def _halved(size: Size) -> Size:
    """Returns the output size of any stride-2 layer here: all are padded so that it is half, rounded up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _total(*costs: Cost) -> Cost:
    return sum(costs, start=Cost())
