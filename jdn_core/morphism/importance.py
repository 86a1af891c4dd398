"""What can be cut from a student's backbone, and how much each piece matters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jdn_core.detector.build import Detector
from jdn_core.morphism.inheritance import blocks, streams

Site = tuple[int, int] | int  # (block, convolution) for inner widths; the stream's number for outer ones


@dataclass(frozen=True, eq=False)
class Width:
    """One width of the network that can shrink, as units that are removed whole.

    Attributes:
        scores: importance of each unit, [U], >= 0.
        channels: channels that go with one unit: 1, or those of a ResNeXt group in both convolutions around
        it.
    """

    scores: Tensor
    channels: int = 1


def widths(detector: Detector) -> dict[Site, Width]:
    """Returns all widths that channel pruning may cut, in the order of the data.

    Source: network slimming and appendix A.3 of the paper. Inner widths are ruled by their own BN's |weight|.
    The output width of a stream is ruled by the projection that opened it, the first block's of those born in
    one stage, also after moves; Dirac projections that moves added rule nothing, as their channels are the
    same stream's (ours). The stem's stream is never cut. A ResNeXt's group counts by the mean over both of
    its BNs, and its streams are never cut (FACTS, section 1).
    """
    found: dict[Site, Width] = {}
    modules, numbers = blocks(detector), streams(detector.spec.backbone)
    grouped = {number for block, number in zip(modules, numbers, strict=True) if block.spec.groups > 1}
    for index, (block, number) in enumerate(zip(modules, numbers, strict=True)):
        gammas = [bn.weight.detach().abs() for _, bn in block.layers()]
        if block.spec.groups > 1:
            found[index, 0] = _group_width(gammas[0], gammas[1], block.spec.groups)
        else:
            found.update({(index, conv): Width(gamma) for conv, gamma in enumerate(gammas[:-1])})
        if block.shortcut is not None and number not in grouped and numbers.index(number) == index:
            found[number] = Width(block.shortcut.bn.weight.detach().abs())
    return found


def block_norms(detector: Detector) -> list[float]:
    """Returns mean |parameter| of every block in the order of the data: a comparable L1 norm (ours)."""
    return [
        sum(parameter.detach().abs().sum(dtype=torch.float64).item() for parameter in block.parameters())
        / sum(parameter.numel() for parameter in block.parameters())
        for block in blocks(detector)
    ]


def _group_width(first: Tensor, second: Tensor, groups: int) -> Width:
    both = torch.cat([first.view(groups, -1), second.view(groups, -1)], dim=1)
    return Width(both.mean(dim=1), channels=both.shape[1])
