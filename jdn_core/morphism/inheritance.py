"""Where every action begins: a child with another backbone that has what the action does not touch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from jdn_core.detector.backbone import Block
from jdn_core.detector.build import Detector, blank
from jdn_core.space.architecture import BackboneSpec


def heir(parent: Detector, spec: BackboneSpec) -> Detector:
    """Makes a detector with backbone ``spec`` and the parent's other parts, on its device and in its mode.

    Stem, RPN, box head and the FPN's 3x3 convolutions are copied. The blocks and the FPN's lateral
    convolutions are still blank; the action fills them.
    """
    child = blank(replace(parent.spec, backbone=spec), next(parent.parameters()).device)
    for name in ("backbone.stem", "neck.layer_blocks", "rpn", "roi"):
        child.get_submodule(name).load_state_dict(parent.get_submodule(name).state_dict())
    return child.train(parent.training)


def blocks(detector: Detector) -> list[Block]:
    """Returns all blocks in the order of the data, which no action ever changes."""
    return [
        block for stage in detector.backbone.stages for block in stage.children() if isinstance(block, Block)
    ]


def laterals(detector: Detector) -> list[nn.Conv2d]:
    """Returns the FPN's four 1x1 convolutions over C2..C5, weights [neck, outs[l], 1, 1]."""
    return [conv for conv in detector.neck.inner_blocks.modules() if isinstance(conv, nn.Conv2d)]


def copy(target: nn.Module, source: nn.Module) -> None:
    """Copies parameters and buffers of ``source``, which has the same shapes, into ``target``."""
    target.load_state_dict(source.state_dict())


def streams(spec: BackboneSpec) -> tuple[int, ...]:
    """Returns for every block the number of the residual stream that it writes to; the stem's is -1.

    Blocks born in one stage add up in one stream. A group whose first block has no projection adds to the
    stream before it (the first stage of R18 and R34 adds to the stem's).
    """
    numbers: list[int] = []
    number, born = -1, -1
    for _, _, block in spec.blocks():
        if block.born != born and block.projection:
            number = block.born
        born = block.born
        numbers.append(number)
    return tuple(numbers)


@torch.no_grad()
def make_identity(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> None:
    """Sets Dirac weights and a neutral BN (weight and variance 1, bias and mean 0): an identity."""
    nn.init.dirac_(conv.weight, conv.groups)
    bn.reset_parameters()
