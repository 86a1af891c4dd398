"""A super-network that begins as the base: wider, deeper, and the same function until it is trained (ours).

The paper trains its super-network from scratch, which COCO has the photos for. On few photos such teachers
are worse than their students (docs/measurements.md, section 3).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import torch
from torch import nn

from jdn_core.detector.build import Detector
from jdn_core.errors import Problem, SettingsError
from jdn_core.pool.supernet import SuperNet, blocks_of
from jdn_core.space.architecture import BlockSpec, DetectorSpec
from jdn_core.space.teachers import SubnetSpace


def grow(base: Detector, space: SubnetSpace) -> SuperNet:
    """Makes a super-network that holds the base as its first blocks and channels, and computes what it does.

    What was there reads nothing that is new: weights from new channels to old ones are zero. What is new
    reads everything, with fresh weights from torch's generator. A new block stands at the end of its stage
    with a last BN of zero weight, so it adds nothing; its gradient is not zero. In training mode too the
    first step is the base's own, because BN normalises each channel by itself (function-preserving growth as
    in Net2Net, Chen et al. 2016, without copies of channels, which would stay equal).

    Args:
        base: left as it is.
        space: subnets of the base's own blocks, the largest not smaller than the base.

    Raises:
        SettingsError: the base is not the beginning of the space's largest subnet.
    """
    net = SuperNet(space, base.spec)
    _require_room(base.spec, net.spec)
    grown = net.state_dict()
    with torch.no_grad():
        for name, old in base.state_dict().items():
            new, old = grown[name], old.to(grown[name].device)
            if new.ndim > 1:
                new[: len(old)] = 0
            new[tuple(map(slice, old.shape))] = old
        for blocks, depth in zip(blocks_of(net.backbone), base.spec.backbone.depths, strict=True):
            for block in islice(blocks, depth, None):
                nn.init.zeros_(block.layers()[-1][1].weight)
    return net


def _require_room(base: DetectorSpec, largest: DetectorSpec) -> None:
    """Refuses a base that is not, block by block, the first part of the largest subnet."""
    pairs = zip(base.backbone.stages, largest.backbone.stages, strict=True)
    fits = (
        base.backbone.stem <= largest.backbone.stem
        and (base.neck <= largest.neck and base.head == largest.head)
        and all(len(ours) <= len(theirs) and all(map(_holds, theirs, ours)) for ours, theirs in pairs)
    )
    if not fits:
        what = "must be scratch, because the base is not the first part of the pool's largest subnet"
        remedy = "a pool can start as an R18, R34, R50 or R101 whose strides are in its 3x3 convolutions"
        raise SettingsError.of([Problem("settings", "pool.start", what, "base", remedy)])


def _holds(large: BlockSpec, small: BlockSpec) -> bool:
    """Says whether a block differs from a small one in nothing but that it may be wider."""
    return (
        large.kind == small.kind
        and replace(large, channels=small.channels) == small
        and all(map(int.__ge__, large.channels, small.channels))
    )
