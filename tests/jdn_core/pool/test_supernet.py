"""The super-network: what is active computes as its extraction does, and everything else stays out of it."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import Tensor, nn

from jdn_core.detector.build import Detector
from jdn_core.detector.convolution import SafeConv2d
from jdn_core.pool.elastic_ops import ElasticConv2d
from jdn_core.pool.extraction import extract
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.architecture import DetectorSpec

SIZES = [(64, 96), (60, 80)]
PROPOSALS = [torch.tensor([[0.0, 0, 20, 20], [10, 10, 90, 60]]), torch.tensor([[3.0, 4, 50, 60]])]


def outputs(detector: Detector, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        features = detector.features(images, SIZES)
        return [*features.values(), *detector.roi_outputs(features, PROPOSALS, SIZES)]


@pytest.mark.parametrize("seed", range(12))
def test_a_drawn_subnet_computes_what_its_extraction_computes(
    supernet: SuperNet, images: Tensor, seed: int
) -> None:
    subnet = supernet.space.draw(Random(seed))
    supernet.activate(subnet)
    detector = extract(supernet, subnet)
    for elastic, plain in zip(outputs(supernet, images), outputs(detector, images), strict=True):
        torch.testing.assert_close(elastic, plain, rtol=0, atol=1e-5)


def test_the_extraction_detects_what_the_active_subnet_detects(supernet: SuperNet, images: Tensor) -> None:
    subnet = supernet.space.smallest
    supernet.activate(subnet)
    elastic, plain = supernet.detect(images, SIZES), extract(supernet, subnet).detect(images, SIZES)
    assert len(elastic[0]["boxes"]) > 0
    torch.testing.assert_close(elastic, plain, rtol=1e-5, atol=1e-4)


def test_the_extraction_is_a_plain_detector_of_the_subnets_specification(
    supernet: SuperNet, template: DetectorSpec
) -> None:
    subnet = supernet.space.draw(Random(3))
    detector = extract(supernet, subnet)
    assert type(detector) is Detector
    assert detector.spec == supernet.space.detector_spec(subnet, template)
    assert not detector.training
    kinds = {type(module) for module in detector.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)}
    assert kinds == {nn.Conv2d, SafeConv2d, nn.BatchNorm2d}


def test_the_extraction_shares_no_memory_with_the_pool(supernet: SuperNet) -> None:
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    detector = extract(supernet, supernet.space.largest)
    with torch.no_grad():
        for tensor in detector.state_dict().values():
            tensor.zero_()
    after = supernet.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_extraction_leaves_the_active_subnet_and_the_random_numbers(supernet: SuperNet) -> None:
    supernet.activate(supernet.space.smallest)
    state = torch.get_rng_state()
    extract(supernet, supernet.space.largest)
    assert supernet.active == supernet.space.smallest
    assert torch.equal(torch.get_rng_state(), state)


def test_names_and_shapes_are_those_of_the_largest_subnets_own_detector(
    supernet: SuperNet, template: DetectorSpec
) -> None:
    own = Detector(supernet.space.detector_spec(supernet.space.largest, template)).state_dict()
    elastic = supernet.state_dict()
    assert {name: tensor.shape for name, tensor in elastic.items()} == {
        name: tensor.shape for name, tensor in own.items()
    }


def test_only_what_is_active_learns(supernet: SuperNet, images: Tensor) -> None:
    subnet = supernet.space.smallest
    supernet.activate(subnet)
    targets = [{"boxes": torch.tensor([[5.0, 5, 40, 40]]), "labels": torch.tensor([1])}] * 2
    losses = supernet.train().training_step(images, SIZES, targets).losses
    torch.stack(list(losses.values())).sum().backward()
    active = extract(supernet, subnet).state_dict()
    for name, parameter in supernet.named_parameters():
        inside = tuple(slice(size) for size in active[name].shape) if name in active else (slice(0),)
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert gradient.isfinite().all()
        assert torch.count_nonzero(gradient) == torch.count_nonzero(gradient[inside]), name


def test_training_moves_the_statistics_of_active_channels_alone(supernet: SuperNet, images: Tensor) -> None:
    before = supernet.backbone.stem.bn.state_dict()["running_mean"].clone()
    supernet.activate(supernet.space.smallest)
    supernet.train().features(images)
    moved = supernet.backbone.stem.bn.state_dict()["running_mean"].ne(before)
    active = extract(supernet, supernet.space.smallest).spec.backbone.stem
    assert moved.tolist() == [True] * active + [False] * (len(before) - active)


def test_a_subnet_from_outside_the_space_is_refused(supernet: SuperNet) -> None:
    wide = supernet.space.narrow(depths=supernet.space.depths, widths=(1.0,))
    small = SuperNet(wide, supernet.template)
    with pytest.raises(ValueError, match="is not in the space"):
        small.activate(supernet.space.largest)
    assert small.active == wide.largest


def test_a_grouped_convolution_cannot_be_elastic() -> None:
    with pytest.raises(ValueError, match="one group, got 2"):
        ElasticConv2d.of(nn.Conv2d(4, 4, 3, groups=2))
