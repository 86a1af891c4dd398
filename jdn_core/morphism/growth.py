"""Add-layer: a block that changes nothing yet, at the end of a stage."""

from __future__ import annotations

from torch import nn

from jdn_core.detector.build import Detector
from jdn_core.morphism.inheritance import blocks, copy, heir, make_identity
from jdn_core.space.architecture import BackboneSpec


def add_block(detector: Detector, spec: BackboneSpec, *, stage: int) -> Detector:
    """Returns a detector with backbone ``spec``, which has one block more at the end of ``stage``.

    Every convolution of the new block is Dirac and its last BN is zero, so F(x) = 0 and relu(F(x) + x) = x:
    the output is unchanged bit for bit (appendix A.2 of the paper). Where widths differ inside the block,
    Dirac keeps as many channels as both sides have.
    """
    child = heir(detector, spec)
    targets = blocks(child)
    index = sum(spec.depths[: stage + 1]) - 1
    for target, source in zip(targets[:index] + targets[index + 1 :], blocks(detector), strict=True):
        copy(target, source)
    for conv, bn in targets[index].layers():
        make_identity(conv, bn)
    nn.init.zeros_(bn.weight)  # the last BN: make_identity left it neutral
    copy(child.neck, detector.neck)
    return child
