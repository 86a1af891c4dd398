"""Integrated progressive shrinking: its phases as data, and the order of channels at the start of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import assert_never

import torch
from torch import Tensor, nn

from jdn_core.detector.backbone import Block
from jdn_core.pool.supernet import SuperNet, blocks_of
from jdn_core.settings.pool import PhaseSettings
from jdn_core.space.teachers import SubnetSpace, SubnetSpec
from jdn_core.training.randomness import Stream

Reader = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Phase:
    """One phase of the pool's training.

    Attributes:
        space: the subnets that are drawn; in the first phase the super-network alone.
        training: name, rates, epochs, and how subnets are drawn: one random subnet an iteration (paper), or
            the largest, the smallest and a random one, whose losses are averaged (the sandwich rule of
            universally slimmable networks).
    """

    space: SubnetSpace
    training: PhaseSettings

    @property
    def name(self) -> str:
        """The phase's name in folders and in MLflow."""
        return self.training.name

    @property
    def draws(self) -> int:
        """Counts the subnets that an iteration trains; one if there is no other."""
        match self.training.sampling:
            case "single":
                return 1
            case "sandwich":
                return 3 if self.space.smallest != self.space.largest else 1
        assert_never(self.training.sampling)


def draws_for(stream: Stream, phase: Phase, iteration: int) -> tuple[SubnetSpec, ...]:
    """Draws the subnets of one iteration, the random one last: a function of its arguments alone.

    Args:
        stream: of the phase's training.
        phase: what is drawn from, uniformly.
        iteration: counted from the start of the phase.
    """
    ends = (phase.space.largest, phase.space.smallest) if phase.draws > 1 else ()
    return (*ends, phase.space.draw(Random(stream.child("subnet", iteration).seed)))


def sort_channels(supernet: SuperNet) -> None:
    """Puts the most important channels first, everywhere, without changing the super-network's function.

    A channel's importance is the L1 norm of the weights that read it, as in Once-for-all: those that make it
    say little, because BN takes their scale away. Channels that are added up share one order: the outputs of
    a stage's blocks, and the levels of the pyramid.
    """
    with torch.no_grad():
        for channels in _all_channels(supernet):
            # Stable: equal channels stay where they are, on every machine and after a resume.
            channels.permute(channels.importance().argsort(descending=True, stable=True))


@dataclass(frozen=True)
class _Channels:
    """Channels that can only change places together.

    Attributes:
        makers: convolutions that give them, and the BNs behind.
        readers: convolutions or linear layers that take them.
    """

    makers: tuple[nn.Conv2d | nn.BatchNorm2d, ...]
    readers: tuple[Reader, ...]

    def importance(self) -> Tensor:
        """Returns the L1 norm of what reads each channel, [C]."""
        return torch.stack([weight.abs().sum(dim=(0, 2)) for weight in self._read()]).sum(dim=0)

    def permute(self, order: Tensor) -> None:
        """Puts channel ``order[i]`` in place i."""
        for maker in self.makers:
            for tensor in maker.state_dict().values():
                if tensor.ndim:  # BN counts its batches in a scalar
                    tensor.copy_(tensor[order])
        for weight, reader in zip(self._read(), self.readers, strict=True):
            reader.weight.copy_(weight[:, order].reshape(reader.weight.shape))

    def _read(self) -> list[Tensor]:
        """Returns the readers' weights, [outputs, C, cells]; a linear layer reads several cells a channel."""
        channels = self.makers[0].weight.shape[0]
        return [reader.weight.reshape(reader.weight.shape[0], channels, -1) for reader in self.readers]


def _all_channels(net: SuperNet) -> Iterator[_Channels]:
    stages = blocks_of(net.backbone)
    laterals, outputs = (tuple(b[0] for b in part) for part in (net.neck.inner_blocks, net.neck.layer_blocks))
    rpn = net.rpn.head
    yield _Channels((net.backbone.stem.conv, net.backbone.stem.bn), _entry(stages[0][0]))
    for stage, (blocks, lateral) in enumerate(zip(stages, laterals, strict=True)):
        for block in blocks:
            yield from _inner(block)
        after = _entry(stages[stage + 1][0]) if stage + 1 < len(stages) else ()
        later = tuple(block.layers()[0][0] for block in blocks[1:])
        # A stage's blocks add to one residual stream, so their outputs and the projection share an order.
        ends = tuple(layer for block in blocks for layer in block.layers()[-1])
        yield _Channels((*ends, *_shortcut(blocks[0])), (*later, *after, lateral))
    yield _Channels(laterals, outputs)
    yield _Channels(outputs, (rpn.conv[0][0], net.roi.box_head.fc6))
    yield _Channels((rpn.conv[0][0],), (rpn.cls_logits, rpn.bbox_pred))


def _inner(block: Block) -> Iterator[_Channels]:
    """Yields the channels between two convolutions of a block."""
    for makers, (reader, _) in pairwise(block.layers()):
        yield _Channels(makers, (reader,))


def _entry(block: Block) -> tuple[nn.Conv2d, ...]:
    """Returns what reads the input of a stage's first block."""
    return (block.layers()[0][0], _shortcut(block)[0])


def _shortcut(block: Block) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Returns the projection and its BN, which the first block of every subnet's stage has."""
    if block.shortcut is None:
        raise ValueError("the first block of a stage must have a projection, got none")
    return (block.shortcut.conv, block.shortcut.bn)
