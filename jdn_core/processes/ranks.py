"""What processes that train one model together have to agree on: gradients, losses, and when to stop.

Gradients are added up after the backward pass, in buckets, and not by DistributedDataParallel: an iteration's
subnet leaves most of an elastic model's parameters without gradient, which DDP has to search the graph for,
while here all processes train the same subnet and know it. What this costs is that no sum is on its way
during the backward pass.

A batch is dealt out in parts (``resolutions.deal``); every process adds up the gradients of its own, weighted
by their share of the images. Their sum is what one process would have got from all parts. Batch statistics
are those of a part, or of all processes' parts together where they are synchronised; only the first process's
running averages are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

BUCKET = 1 << 24  # elements that are sent at once, 64 MiB


class PeerLost(RuntimeError):
    """Another process died or hangs; its own message has the reason."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; they are in torch's default group if there are several.

    Attributes:
        number: this one's, 0..count - 1.
        count: how many there are.
    """

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Says whether this process is the one that writes what all of them have."""
        return self.number == 0

    def agree(self, signal: int | None) -> int | None:
        """Returns the largest of all processes' stop signals; none if none of them was asked to stop."""
        if self.count == 1:
            return signal
        largest = torch.tensor(signal or 0)
        _reduce(largest, distributed.ReduceOp.MAX)
        return int(largest) or None

    def add_losses(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adds scalars up over all processes, by names that are the same everywhere."""
        if self.count == 1:
            return dict(losses)
        values = torch.stack(list(losses.values()))
        _reduce(values)
        return dict(zip(losses, values.unbind(), strict=True))

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Adds gradients up over all processes, in place.

        A parameter may be without gradient in some processes, such as the adaptor of a pyramid level that no
        proposal of theirs was on; it counts as zero there. Without any it stays without.
        """
        if self.count == 1:
            return
        trained = list(parameters)
        # Which parameters are summed has to be the same everywhere, or the sums would be of other tensors.
        known = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8)
        _reduce(known, distributed.ReduceOp.MAX)
        gradients = [_gradient(p) for p, anywhere in zip(trained, known.tolist(), strict=True) if anywhere]
        for bucket in _buckets(gradients):
            sums = torch.cat([gradient.reshape(-1) for gradient in bucket])
            _reduce(sums)
            for gradient, part in zip(bucket, torch.split(sums, [g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view(gradient.shape))


ALONE = Ranks()


def _reduce(tensor: Tensor, how: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> None:
    try:
        distributed.all_reduce(tensor, how)
    except RuntimeError as error:
        raise PeerLost(f"another training process does not answer: {error}") from error


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yields the tensors in their order, as many at a time as have about ``BUCKET`` elements together."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(t.numel() for t in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
