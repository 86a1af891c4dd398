"""A tiny pool: of 8 to 128 inner channels, so that every test of it is quick."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jdn_core.pool.supernet import SuperNet
from jdn_core.space.architecture import DetectorSpec, RegionSpec
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace

SPACE = SubnetSpace(
    depths=((1, 2), (1, 2), (1, 3), (1, 2)), widths=(1.0, 1.5, 2.0), width=1 / 8, neck=16, head=16
)
SIZES = [(64, 96), (60, 80)]


@pytest.fixture
def template() -> DetectorSpec:
    region = RegionSpec(
        anchor_sizes=(8, 16, 32, 64, 128), train_proposals=(60, 30), proposals=(60, 30), rois_per_image=16
    )
    return DetectorSpec(family("r50", width=1 / 16), ((1, "circle"), (7, "square")), region=region)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 96)


@pytest.fixture
def supernet(template: DetectorSpec, images: Tensor) -> SuperNet:
    """A super-network whose BN statistics and affine weights are not the initial ones, in eval mode."""
    net = SuperNet(SPACE, template)
    with torch.no_grad():
        for name, parameter in net.backbone.named_parameters():
            if "bn" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for _ in range(3):
            net.train().features(images, SIZES)
    return net.eval()
