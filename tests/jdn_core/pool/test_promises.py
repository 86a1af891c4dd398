"""What a trained pool promises: a subnet is its extraction, sorting changes nothing, BN reset is private.

The number of drawn subnets is modest; JDN_DRAWS=1000 checks a thousand.
"""

from __future__ import annotations

import copy
import os
from random import Random

import pytest
import torch
from torch import Tensor

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector
from jdn_core.pool.calibration import reset_bn
from jdn_core.pool.extraction import extract
from jdn_core.pool.shrinking import sort_channels
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.architecture import DetectorSpec, RegionSpec
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace

DRAWS = int(os.environ.get("JDN_DRAWS", "40"))
SLIM = SubnetSpace(((1, 2), (1, 3), (2, 4), (1, 2)), (1.0, 1.25, 1.5), width=1 / 4, neck=48, head=64)
SIZES = [(64, 96), (60, 80)]
PROPOSALS = [torch.tensor([[0.0, 0, 20, 20], [10, 10, 90, 60]]), torch.tensor([[3.0, 4, 50, 60]])]
TARGETS = [
    {"boxes": torch.tensor([[5.0, 5, 40, 40]]), "labels": torch.tensor([1])},
    {"boxes": torch.tensor([[20.0, 10, 70, 50]]), "labels": torch.tensor([2])},
]


def pictures(seed: int) -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def trained_pool(steps: int = 20) -> SuperNet:
    """A slim pool after some steps of shrinking, so that all BN weights differ; in eval mode."""
    region = RegionSpec((8, 16, 32, 64, 128), train_proposals=(60, 30), proposals=(60, 30), rois_per_image=16)
    torch.manual_seed(0)
    net = SuperNet(SLIM, DetectorSpec(family("r18"), ((1, "circle"), (7, "square")), region=region)).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        net.activate(SLIM.draw(Random(step)) if step % 2 else SLIM.largest)
        losses = net.training_step(pictures(step), SIZES, TARGETS).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
    net.activate(SLIM.largest)
    return net.eval()


def outputs(detector: Detector) -> list[Tensor]:
    """Everything that leaves a detector but its choice of boxes: pyramid, RPN, pooled features, RoI heads."""
    with torch.no_grad():
        features = detector.features(pictures(1000), SIZES)
        objectness, deltas = detector.rpn.head(list(features.values()))
        rois = detector.roi_outputs(features, PROPOSALS, SIZES)
        return [*features.values(), *objectness, *deltas, *rois]


def worst_difference(net: SuperNet, draws: int) -> float:
    """Largest absolute difference between extractions and the active pool, both after one BN reset."""
    images = [Batch(pictures(seed), SIZES, [], [1, 2], SIZES) for seed in range(2)]
    active, worst = copy.deepcopy(net), 0.0
    shared = active.state_dict()
    for seed in range(draws):
        subnet = net.space.draw(Random(seed))
        detector = extract(net, subnet)
        reset_bn(detector, images)
        for name, tensor in detector.state_dict().items():
            if "running" in name:
                shared[name][: len(tensor)] = tensor
        active.activate(subnet)
        pairs = zip(outputs(active), outputs(detector), strict=True)
        worst = max(worst, *(float((left - right).abs().max()) for left, right in pairs))
    return worst


@pytest.fixture(scope="module")
def pool() -> SuperNet:
    return trained_pool()


@pytest.mark.timeout(1800)
def test_drawn_subnets_compute_what_their_extractions_compute(pool: SuperNet) -> None:
    before = {name: tensor.clone() for name, tensor in pool.state_dict().items()}
    assert worst_difference(pool, DRAWS) <= 1e-5
    assert all(torch.equal(tensor, before[name]) for name, tensor in pool.state_dict().items())


def test_without_its_own_statistics_a_subnet_computes_something_else(pool: SuperNet) -> None:
    raw, reset = (extract(pool, pool.space.smallest) for _ in range(2))
    reset_bn(reset, [Batch(pictures(0), SIZES, [], [1, 2], SIZES)])
    assert max(float((a - b).abs().max()) for a, b in zip(outputs(raw), outputs(reset), strict=True)) > 0.1


def test_sorting_a_trained_pool_keeps_the_super_networks_function(pool: SuperNet) -> None:
    net = copy.deepcopy(pool)
    norms = [parameter for name, parameter in net.backbone.named_parameters() if name.endswith("bn1.weight")]
    assert all(len(norm.unique()) > 1 for norm in norms)
    before = heads(net)
    sort_channels(net)
    assert not torch.equal(net.backbone.stem.conv.weight, pool.backbone.stem.conv.weight)
    for old, new in zip(before, heads(net), strict=True):
        # Outputs reach 20 after these steps: sums in another order differ by 100 roundings of float32.
        torch.testing.assert_close(new, old, rtol=2e-5, atol=1e-4)


def heads(net: SuperNet) -> list[Tensor]:
    """What leaves the network, where the order of channels cannot be seen: RPN, logits and deltas."""
    levels = len(net.spec.region.anchor_sizes)
    found = outputs(net)
    return [*found[levels : 3 * levels], *found[-2:]]
