"""Channel pruning and layer pruning: the least important channels, or block, go; the rest stays as it is.

Sources: paper, section 3.3 and appendix A; FACTS, section 2. Ours are the floors and the count of coupled
channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from jdn_core.detector.backbone import Block
from jdn_core.detector.build import Detector
from jdn_core.morphism.importance import Site, Width, block_norms, widths
from jdn_core.morphism.inheritance import blocks, copy, heir, laterals, streams
from jdn_core.space.actions import LEAST_GROUPS, PruneChannels, PruneLayer, key, reason_against, removable
from jdn_core.space.architecture import BackboneSpec, BlockSpec

LEAST_KEPT = 0.1  # of each width, at every single action, so that no layer dies (ours)
ROWS = 32  # output channels copied at once: at most 0.6 MB in R101
Place = tuple[int, int]  # (stage, position in it)


@dataclass(frozen=True, eq=False)
class ChannelCut:
    """A choice of channels.

    Attributes:
        kept: per prunable width, the units that stay, [U] bool.
        removed: channels that go; the coupled channels of a stream count once.
        prunable: channels there are, counted the same way.
    """

    kept: Mapping[Site, Tensor]
    removed: int
    prunable: int

    @property
    def share(self) -> float:
        """Returns the exact share removed, at most the one that was asked for."""
        return self.removed / self.prunable


def choose_channels(detector: Detector, share: float) -> ChannelCut:
    """Chooses the backbone's least important channels, as many as fit into ``share`` of the prunable ones.

    One unit goes at least. Equal scores go in the order of the data. Each width keeps its best tenth.

    Raises:
        ValueError: nothing may go.
    """
    if reason := reason_against(detector.spec, PruneChannels(share)):
        raise ValueError(f"{key(PruneChannels(share))}: {reason}")
    found = widths(detector)
    counts = [len(width.scores) for width in found.values()]
    scores = torch.cat([_open_scores(width) for width in found.values()])
    sizes = torch.tensor([width.channels for width in found.values()]).repeat_interleave(torch.tensor(counts))
    prunable = int(sizes.sum())
    order = scores.argsort(stable=True)  # all widths compete, as in network slimming
    budget = max(math.floor(share * prunable + 1e-9), int(sizes[order[0]]))  # 0.29 of 100 is 29
    going = order[(sizes[order].cumsum(0) <= budget) & scores[order].isfinite()]
    kept = torch.ones(len(scores), dtype=torch.bool)
    kept[going] = False
    parts = torch.split(kept, counts)
    return ChannelCut(dict(zip(found, parts, strict=True)), int(sizes[going].sum()), prunable)


def cut_spec(spec: BackboneSpec, cut: ChannelCut) -> BackboneSpec:
    """Returns the architecture that is left."""
    numbers = streams(spec)
    cut_blocks = iter(
        [_cut_block(block, cut, i, numbers[i]) for i, (_, _, block) in enumerate(spec.blocks())]
    )
    return replace(spec, stages=tuple(tuple(next(cut_blocks) for _ in stage) for stage in spec.stages))


def cut_channels(detector: Detector, cut: ChannelCut) -> Detector:
    """Returns a smaller detector with the kept channels' weights; what read a removed channel goes too."""
    child = heir(detector, cut_spec(detector.spec.backbone, cut))
    device = next(detector.parameters()).device
    numbers = streams(detector.spec.backbone)
    inputs = torch.arange(detector.spec.backbone.stem, device=device)
    outs = []
    for index, (target, source) in enumerate(zip(blocks(child), blocks(detector), strict=True)):
        chosen = [kept.to(device) for kept in _kept_channels(source.spec, cut, index, numbers[index])]
        _cut_layers(target, source, inputs, chosen)
        inputs = chosen[-1]
        outs.append(inputs)
    ends = [depth - 1 for depth in accumulate(detector.spec.backbone.depths)]
    for target_conv, source_conv, end in zip(laterals(child), laterals(detector), ends, strict=True):
        _cut_conv(target_conv, source_conv, outs[end], torch.arange(source_conv.out_channels, device=device))
    return child


def choose_block(detector: Detector) -> Place:
    """Returns (stage, position) of the block of least importance among those that may go.

    Raises:
        ValueError: none may.
    """
    spec = detector.spec.backbone
    places = [(stage, position) for stage, position, _ in spec.blocks()]
    norms = dict(zip(places, block_norms(detector), strict=True))
    if reason := reason_against(detector.spec, PruneLayer()):
        raise ValueError(f"{key(PruneLayer())}: {reason}")
    return min(removable(spec), key=norms.__getitem__)


def without_block(spec: BackboneSpec, gone: Place) -> BackboneSpec:
    """Returns the architecture without one block."""
    stages = tuple(
        tuple(block for position, block in enumerate(stage) if (number, position) != gone)
        for number, stage in enumerate(spec.stages)
    )
    return replace(spec, stages=stages)


def cut_block(detector: Detector, gone: Place) -> Detector:
    """Returns a detector without that block; its neighbours are joined as they are."""
    child = heir(detector, without_block(detector.spec.backbone, gone))
    sources = blocks(detector)
    del sources[sum(detector.spec.backbone.depths[: gone[0]]) + gone[1]]
    for target, source in zip(blocks(child), sources, strict=True):
        copy(target, source)
    copy(child.neck, detector.neck)
    return child


def _open_scores(width: Width) -> Tensor:
    """Scores of the units that may go, infinite for the best tenth, on the CPU, [U]."""
    scores = width.scores.float().cpu().clone()
    protected = max(LEAST_GROUPS if width.channels > 1 else 1, math.ceil(LEAST_KEPT * len(scores)))
    scores[scores.argsort(stable=True, descending=True)[:protected]] = math.inf
    return scores


def _kept_channels(block: BlockSpec, cut: ChannelCut, index: int, stream: int) -> list[Tensor]:
    """Returns the indices of the output channels that stay, for each convolution of a block."""
    chosen = []
    for conv, channels in enumerate(block.channels):
        last = conv == len(block.channels) - 1
        site: Site = stream if last else (index, 0 if block.groups > 1 else conv)
        # Widths that are never cut, such as the stem's stream, are one unit that stays.
        kept = cut.kept.get(site, torch.ones(1, dtype=torch.bool))
        chosen.append(kept.repeat_interleave(channels // len(kept)).nonzero().flatten())
    return chosen


def _cut_block(block: BlockSpec, cut: ChannelCut, index: int, stream: int) -> BlockSpec:
    channels = tuple(len(kept) for kept in _kept_channels(block, cut, index, stream))
    groups = int(cut.kept[index, 0].sum()) if block.groups > 1 else 1
    return replace(block, channels=channels, groups=groups)


def _cut_layers(target: Block, source: Block, inputs: Tensor, chosen: list[Tensor]) -> None:
    """Copies the kept part of each layer, given the kept indices before the first and after every layer."""
    befores = [inputs, *chosen[:-1]]
    for layer, whole, before, after in zip(target.layers(), source.layers(), befores, chosen, strict=True):
        _cut_conv(layer[0], whole[0], before, after)
        _cut_bn(layer[1], whole[1], after)
    if target.shortcut is not None and source.shortcut is not None:
        _cut_conv(target.shortcut.conv, source.shortcut.conv, inputs, chosen[-1])
        _cut_bn(target.shortcut.bn, source.shortcut.bn, chosen[-1])


@torch.no_grad()
def _cut_conv(target: nn.Conv2d, source: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> None:
    """Copies what is kept a few rows at a time, so that a whole layer is never held twice."""
    for part, rows in zip(torch.split(target.weight, ROWS), torch.split(outputs, ROWS), strict=True):
        kept = source.weight[rows]
        part.copy_(kept if source.groups > 1 else kept[:, inputs])  # a group keeps its inputs
    if target.bias is not None and source.bias is not None:
        target.bias.copy_(source.bias[outputs])


def _cut_bn(target: nn.BatchNorm2d, source: nn.BatchNorm2d, kept: Tensor) -> None:
    state = source.state_dict()
    target.load_state_dict({name: value[kept] if value.ndim else value for name, value in state.items()})
