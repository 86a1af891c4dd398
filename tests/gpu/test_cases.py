"""What the check compares with: equal samples, equal weights, and faults that it would notice."""

from __future__ import annotations

import copy
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector, build
from jdn_core.pool.extraction import extract
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.architecture import Resolution
from jdn_core.space.families import Family
from tests.gpu import cases, right
from tests.gpu.counters import count
from tests.gpu.samples import Samples
from tests.gpu.scale import SMALL
from tests.gpu.turns import Turns, train_by_turns
from tests.gpu.twins import set_frame, twin

FRAME = Resolution(256, 192)


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return cases.tamed(build(SMALL.spec("r18")))


def test_equal_steps_under_the_same_samples_are_equal(detector: Detector) -> None:
    batch, samples = cases.pictures(SMALL.frame, batch=2, classes=SMALL.classes), Samples()
    first, second = (cases.step(detector, batch, samples) for _ in range(2))
    assert cases.loss_error(second, first) == cases.gradient_error(second, first) == 0
    assert cases.statistics_error(second, first) == 0


def test_another_detector_takes_over_proposals_that_are_not_its_own(detector: Detector) -> None:
    batch, samples = cases.pictures(SMALL.frame, batch=2, classes=SMALL.classes), Samples()
    other = cases.tamed(build(SMALL.spec("r50")))

    def proposals(of: Detector, under: Samples) -> Tensor:
        with under.of(of):
            return torch.cat(of.train().training_step(batch.images, batch.sizes, batch.targets).proposals)

    first = proposals(detector, samples)
    assert torch.equal(proposals(other, samples), first)
    assert not torch.equal(proposals(other, Samples()), first)


def test_bn_statistics_are_put_back_after_a_step(detector: Detector) -> None:
    batch = cases.pictures(SMALL.frame, batch=2, classes=SMALL.classes)
    before = detector.backbone.stem.bn.running_mean.clone()
    after = cases.step(detector, batch, Samples()).statistics["backbone.stem.bn.running_mean"]
    assert torch.equal(detector.backbone.stem.bn.running_mean, before)
    assert not torch.equal(after, before)


@pytest.mark.parametrize("fault", ["a wrong weight", "a wrong shift", "no gradient"])
def test_a_fault_is_far_outside_the_bounds(detector: Detector, fault: str) -> None:
    """A device that computes one layer otherwise by 2 %, or that loses a gradient."""
    batch, samples = cases.pictures(SMALL.frame, batch=2, classes=SMALL.classes), Samples()
    wanted = cases.step(detector, batch, samples)
    wrong = copy.deepcopy(detector)
    with torch.no_grad():
        if fault == "a wrong weight":
            wrong.neck.get_submodule("layer_blocks.0.0").weight.mul_(1.02)
        elif fault == "a wrong shift":
            wrong.backbone.stem.bn.bias.add_(0.02)
        else:
            cast(nn.Module, wrong.roi.box_head.fc7).requires_grad_(False)
    found = cases.step(wrong, batch, samples)
    assert cases.gradient_error(found, wanted) > right.GRADIENT


@pytest.mark.parametrize("name", ["r18", "r50", "r101", "super-network"])
def test_torchvisions_twin_detects_what_ours_detects(name: str) -> None:
    batch = cases.pictures(FRAME, batch=2, classes=SMALL.classes)
    torch.manual_seed(0)
    if name == "super-network":
        pool = SuperNet(SMALL.pool, SMALL.spec("r50"))
        ours: Detector = extract(pool, pool.space.largest)
    else:
        ours = build(SMALL.spec(cast(Family, name)))
    ours = cases.calibrated(cases.tamed(ours), batch)
    theirs = twin(ours).eval()
    set_frame(theirs, FRAME)
    with torch.inference_mode():
        found = ours.detect(batch.images, batch.sizes)
        wanted = theirs([image[:, :h, :w] for image, (h, w) in zip(batch.images, batch.sizes, strict=True)])
    matched = sum(right.matches(one, other) for one, other in zip(wanted, found, strict=True))
    assert matched >= 0.95 * sum(len(one["labels"]) for one in wanted) > 0


def test_turns_count_the_operators_of_a_whole_step(detector: Detector) -> None:
    batch = cases.pictures(SMALL.frame, batch=2, classes=SMALL.classes)

    def losses_of(batch: Batch, _: int) -> dict[str, Tensor]:
        return detector.training_step(batch.images, batch.sizes, batch.targets).losses

    bare = count(lambda: torch.stack([*losses_of(batch, 0).values()]).sum().backward(), device="cpu")
    others: list[int] = []
    turns = Turns(lambda: others.append(1), fast=SMALL.fast, device="cpu")
    train_by_turns(detector, losses_of, batch, turns, precision="float32")
    # The loop adds clipping, the optimizer and its checks; the number of proposals moves a little.
    assert 0.95 * bare.operators < turns.counts.operators < 2 * bare.operators
    assert len(turns.pairs) == SMALL.fast.pairs
    assert len(others) == SMALL.fast.warmup + SMALL.fast.pairs


def test_operators_are_counted_with_those_inside_others() -> None:
    counts = count(lambda: torch.ones(2, 2).matmul(torch.ones(2, 2)), device="cpu")
    assert counts.operators >= 4  # two ones, matmul, and mm inside it
    assert (counts.launches, counts.waits) == (0, 0)
