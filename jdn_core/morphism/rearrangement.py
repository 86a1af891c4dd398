"""Rearrange: a block at the border of two stages changes sides and strides; weights are inherited."""

from __future__ import annotations

import torch
from torch import nn

from jdn_core.detector.build import Detector
from jdn_core.morphism.inheritance import blocks, copy, heir, laterals, make_identity, streams
from jdn_core.space.architecture import BackboneSpec


def move_block(detector: Detector, spec: BackboneSpec) -> Detector:
    """Returns a detector with backbone ``spec``: the same blocks in the same order, other stages and strides.

    A block that takes over a stride and had no projection gets one that starts as plain subsampling (FACTS,
    section 1); it goes again with the stride. A lateral convolution of the FPN follows the stream that it
    reads: when a block of the next stream ends a stage, its lateral starts as that of the level which read
    this stream before, or, where none did, as zero, so that the level begins with what comes from above
    (ours).
    """
    child = heir(detector, spec)
    for target, source in zip(blocks(child), blocks(detector), strict=True):
        for layer, whole in zip(target.layers(), source.layers(), strict=True):
            for part, whole_part in zip(layer, whole, strict=True):
                copy(part, whole_part)
        if target.shortcut is not None and source.shortcut is not None:
            copy(target.shortcut, source.shortcut)
        elif target.shortcut is not None:
            make_identity(target.shortcut.conv, target.shortcut.bn)
    _inherit_laterals(child, detector)
    return child


@torch.no_grad()
def _inherit_laterals(child: Detector, parent: Detector) -> None:
    before, after = _read_streams(parent.spec.backbone), _read_streams(child.spec.backbone)
    sources = laterals(parent)
    for level, target in enumerate(laterals(child)):
        if after[level] == before[level]:
            copy(target, sources[level])
        elif after[level] in before:
            copy(target, sources[before.index(after[level])])
        else:
            for parameter in target.parameters():
                nn.init.zeros_(parameter)


def _read_streams(spec: BackboneSpec) -> list[int]:
    """Returns the stream that each of C2..C5 is taken from."""
    numbers = iter(streams(spec))
    return [[next(numbers) for _ in stage][-1] for stage in spec.stages]
