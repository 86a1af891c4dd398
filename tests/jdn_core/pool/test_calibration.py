"""BN reset: a subnet's own statistics, and nothing but them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector
from jdn_core.pool.calibration import reset_bn
from jdn_core.pool.extraction import extract
from jdn_core.pool.supernet import SuperNet


@pytest.fixture
def batches() -> list[Batch]:
    sizes = [(64, 96), (64, 96)]
    return [Batch(torch.rand(2, 3, 64, 96) * scale, sizes, [], [1, 2], sizes) for scale in (0.2, 0.6, 1.0)]


def snapshot(detector: Detector) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in detector.state_dict().items()}


def test_only_bn_statistics_of_the_copy_change(supernet: SuperNet, batches: list[Batch]) -> None:
    detector = extract(supernet, supernet.space.smallest)
    before, shared = snapshot(detector), snapshot(supernet)
    reset_bn(detector, batches)
    changed = {
        name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert {name.rpartition(".")[2] for name in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert sum(name.endswith("running_mean") for name in changed) == sum(
        "running_mean" in name for name in before
    )
    assert all(torch.equal(tensor, shared[name]) for name, tensor in supernet.state_dict().items())


def test_the_statistics_are_the_means_over_batches(supernet: SuperNet, batches: list[Batch]) -> None:
    detector = extract(supernet, supernet.space.smallest)
    reset_bn(detector, batches)
    stem = detector.backbone.stem
    with torch.no_grad():
        maps = [stem.conv(detector.normalise(batch.images, batch.sizes)) for batch in batches]
    means = torch.stack([m.mean(dim=(0, 2, 3)) for m in maps]).mean(dim=0)
    variances = torch.stack([m.var(dim=(0, 2, 3)) for m in maps]).mean(dim=0)
    torch.testing.assert_close(stem.bn.running_mean, means)
    torch.testing.assert_close(stem.bn.running_var, variances)


def test_neither_the_order_of_batches_nor_the_former_statistics_matter(
    supernet: SuperNet, batches: list[Batch]
) -> None:
    first, second = (extract(supernet, supernet.space.smallest) for _ in range(2))
    reset_bn(first, batches)
    with torch.no_grad():
        second.backbone.stem.bn.state_dict()["running_mean"].fill_(1e3)
    reset_bn(second, batches[::-1])
    torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_the_detector_is_left_ready_to_detect(supernet: SuperNet, batches: list[Batch]) -> None:
    detector = extract(supernet, supernet.space.smallest).train()
    reset_bn(detector, iter(batches))
    assert not any(module.training for module in detector.modules())
    assert {m.momentum for m in detector.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}
    assert all(parameter.grad is None for parameter in detector.parameters())


def test_the_super_network_itself_is_refused(supernet: SuperNet, batches: list[Batch]) -> None:
    before = snapshot(supernet)
    with pytest.raises(TypeError, match="extracted copy"):
        reset_bn(supernet, batches)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_no_images_are_an_error_that_leaves_the_detector_as_it_was(supernet: SuperNet) -> None:
    def nothing() -> Iterator[Batch]:
        yield from ()

    detector = extract(supernet, supernet.space.smallest)
    before = snapshot(detector)
    with pytest.raises(ValueError, match="at least one batch"):
        reset_bn(detector, nothing())
    torch.testing.assert_close(detector.state_dict(), before, rtol=0, atol=0)
