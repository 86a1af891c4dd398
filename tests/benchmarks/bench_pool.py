"""What elasticity costs beside a plain detector, and what a BN reset costs beside a training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from random import Random

import pytest
import torch
from torch import Tensor

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector
from jdn_core.pool.calibration import reset_bn
from jdn_core.pool.extraction import extract
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.architecture import DetectorSpec, RegionSpec
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace, SubnetSpec
from tests.benchmarks.conftest import Note

# The space and the regions of the preset bccd_cpu, at its largest frame and its batch.
SLIM = SubnetSpace(((1, 2), (1, 3), (2, 4), (1, 2)), (1.0, 1.25, 1.5), width=1 / 4, neck=48, head=128)
REGION = RegionSpec(
    anchor_sizes=(16, 32, 64, 128, 256),
    train_proposals=(400, 200),
    proposals=(200, 100),
    anchors_per_image=64,
    rois_per_image=64,
)
SIZES = [(240, 320)] * 4
BOXES = torch.tensor([[10.0, 10, 80, 90], [100, 50, 200, 160]])
TARGETS = [{"boxes": BOXES, "labels": torch.tensor([1, 2])}] * 4
SUBNETS = {"largest": SLIM.largest, "smallest": SLIM.smallest} | {
    f"drawn {seed}": SLIM.draw(Random(seed)) for seed in range(3)
}
PAIRS = 15


@pytest.fixture(scope="module")
def pool() -> Iterator[SuperNet]:
    """On one thread, as a training on a busy CPU is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield SuperNet(SLIM, DetectorSpec(family("r18"), ((1, "a"), (2, "b"), (3, "c")), region=REGION))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(4, 3, 256, 320, generator=torch.Generator().manual_seed(0))


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, which neighbours on the machine disturb less than the clock."""
    start = time.process_time()
    work()
    return time.process_time() - start


def step(detector: Detector, images: Tensor) -> None:
    """Forward and backward; the same proposals are drawn every time."""
    torch.manual_seed(1)
    detector.zero_grad()
    losses = detector.training_step(images, SIZES, TARGETS).losses
    torch.stack(list(losses.values())).sum().backward()


def paired(first: Callable[[], object], second: Callable[[], object]) -> float:
    """Median of the ratio of the times of runs side by side, each first in turn."""
    for work in (first, second):
        work()
    ratios = []
    for turn in range(PAIRS):
        if turn % 2:
            one, other = seconds(first), seconds(second)
        else:
            other, one = seconds(second), seconds(first)
        ratios.append(one / other)
    return statistics.median(ratios)


@pytest.mark.parametrize("subnet", SUBNETS.values(), ids=SUBNETS)
def test_an_elastic_step_costs_what_the_extracted_subnets_step_costs(
    subnet: SubnetSpec, pool: SuperNet, images: Tensor, note: Note
) -> None:
    pool.activate(subnet)
    elastic, plain = pool.train(), extract(pool, subnet).train()
    ratio = paired(lambda: step(elastic, images), lambda: step(plain, images))
    note(f"elastic : plain, {subnet}", ratio, "x", bound=1.05)


def test_a_bn_reset_costs_less_than_training_on_the_same_images_once(
    pool: SuperNet, images: Tensor, note: Note
) -> None:
    subnet = SLIM.largest
    pool.activate(subnet)
    batch, trained = Batch(images, SIZES, [], [1, 2, 3, 4], SIZES), pool.train()

    def train() -> None:
        for _ in range(4):
            step(trained, images)

    ratio = paired(lambda: reset_bn(extract(pool, subnet), [batch] * 4), train)
    note("extraction and BN reset / training on the same images", ratio, "x", bound=1)
