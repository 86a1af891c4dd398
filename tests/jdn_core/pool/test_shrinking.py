"""Sorting changes the places of channels and nothing else; draws depend on their arguments alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from jdn_core.pool.shrinking import Phase, draws_for, sort_channels
from jdn_core.pool.supernet import SuperNet, blocks_of
from jdn_core.settings.pool import PhaseSettings
from jdn_core.training.randomness import Stream

SIZES = [(64, 96), (60, 80)]
PROPOSALS = [torch.tensor([[0.0, 0, 20, 20], [10, 10, 90, 60]]), torch.tensor([[3.0, 4, 50, 60]])]


def heads(net: SuperNet, images: Tensor) -> list[Tensor]:
    """Everything that leaves the network: what the RPN says of each level, logits and deltas of RoIs."""
    with torch.no_grad():
        features = net.features(images, SIZES)
        objectness, deltas = net.rpn.head(list(features.values()))
        return [*objectness, *deltas, *net.roi_outputs(features, PROPOSALS, SIZES)[1:]]


def test_sorting_keeps_the_super_networks_function(supernet: SuperNet, images: Tensor) -> None:
    before = heads(supernet, images)
    weights = supernet.neck.layer_blocks[0][0].weight.clone()
    sort_channels(supernet)
    assert not torch.equal(weights, supernet.neck.layer_blocks[0][0].weight)
    for old, new in zip(before, heads(supernet, images), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=1e-4)


def test_sorting_keeps_the_function_in_training_too(supernet: SuperNet, images: Tensor) -> None:
    before = heads(supernet.train(), images)
    sort_channels(supernet)
    for old, new in zip(before, heads(supernet, images), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=1e-4)


def test_the_channels_that_are_read_most_come_first(supernet: SuperNet) -> None:
    sort_channels(supernet)
    convolutions = [
        conv for blocks in blocks_of(supernet.backbone) for block in blocks for conv, _ in block.layers()[1:]
    ]
    predictors = supernet.rpn.head.cls_logits.weight, supernet.rpn.head.bbox_pred.weight
    laterals = torch.cat([block[0].weight for block in supernet.neck.layer_blocks])
    read = [conv.weight for conv in convolutions] + [torch.cat(predictors), laterals]
    for weight in read:
        importance = weight.detach().abs().sum(dim=(0, 2, 3)).tolist()
        assert all(left >= right - 1e-4 for left, right in pairwise(importance))


def test_sorting_twice_changes_nothing(supernet: SuperNet) -> None:
    sort_channels(supernet)
    once = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    sort_channels(supernet)
    for name, tensor in supernet.state_dict().items():
        torch.testing.assert_close(tensor, once[name], rtol=0, atol=0, msg=name)


def test_a_last_channel_that_matters_most_becomes_the_first(supernet: SuperNet) -> None:
    block = blocks_of(supernet.backbone)[2][1]
    (conv, _), (reader, _), _ = block.layers()
    with torch.no_grad():
        reader.weight[:, -1] *= 100
    marked = conv.weight[-1].flatten().sort().values  # its inputs change places too
    sort_channels(supernet)
    assert torch.equal(conv.weight[0].flatten().sort().values, marked)


@pytest.fixture
def phase(supernet: SuperNet) -> Phase:
    depths, widths = supernet.space.depths, supernet.space.widths[1:]
    return Phase(supernet.space.narrow(depths=depths, widths=widths), PhaseSettings(name="shrink-1"))


def test_a_draw_depends_on_the_iteration_and_not_on_earlier_draws(phase: Phase) -> None:
    stream = Stream((7, "pool", phase.name))
    forward = [draws_for(stream, phase, iteration) for iteration in range(20)]
    backward = [draws_for(stream, phase, iteration) for iteration in reversed(range(20))]
    assert forward == backward[::-1]
    assert len(set(forward)) > 10
    assert all(subnet in phase.space for (subnet,) in forward)


def test_other_seeds_draw_other_subnets(phase: Phase) -> None:
    first, second = ([draws_for(Stream((seed,)), phase, i) for i in range(5)] for seed in (1, 2))
    assert first != second


def test_a_phase_of_the_super_network_alone_draws_nothing_else(supernet: SuperNet) -> None:
    alone = Phase(supernet.space.narrow(), PhaseSettings(name="supernet"))
    assert {draws_for(Stream((0,)), alone, i) for i in range(5)} == {(supernet.space.largest,)}


def test_a_sandwich_is_the_largest_the_smallest_and_what_a_single_draw_would_be(phase: Phase) -> None:
    sandwich, stream = Phase(phase.space, PhaseSettings(name="shrink-1", sampling="sandwich")), Stream((7,))
    for iteration in range(5):
        largest, smallest, drawn = draws_for(stream, sandwich, iteration)
        assert (largest, smallest) == (phase.space.largest, phase.space.smallest)
        assert (drawn,) == draws_for(stream, phase, iteration)


def test_a_sandwich_of_the_super_network_alone_is_trained_once(supernet: SuperNet) -> None:
    alone = Phase(supernet.space.narrow(), PhaseSettings(name="supernet", sampling="sandwich"))
    assert draws_for(Stream((0,)), alone, 0) == (supernet.space.largest,)
