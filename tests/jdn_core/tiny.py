"""Detectors small enough that every test of one is quick."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from jdn_core.detector.build import Detector, build
from jdn_core.space.architecture import BackboneSpec, DetectorSpec, RegionSpec, Resolution
from jdn_core.space.families import Family, family

REGION = RegionSpec(
    anchor_sizes=(8, 16, 32, 64, 128),
    train_proposals=(60, 30),
    proposals=(60, 30),
    rois_per_image=16,
    anchors_per_image=32,
)
SIZES = [(60, 80), (64, 96)]


def tiny_spec(name: Family = "r18", *, width: float = 1 / 8, depth: int = 3) -> DetectorSpec:
    """A family's detector, narrow and with ``depth`` blocks a stage at the most."""
    classes = ((1, "circle"), (7, "square"))
    whole = family(name, width=width)
    backbone = BackboneSpec(whole.stem, tuple(blocks[:depth] for blocks in whole.stages))
    return DetectorSpec(backbone, classes, neck=16, head=24, region=REGION, resolution=Resolution(96, 64))


def grown(spec: DetectorSpec) -> Detector:
    """In eval mode, with BN weights and statistics that are all different, as after a training."""
    detector = build(spec)
    with torch.no_grad():
        for module in detector.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.4)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
    return detector.eval()


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """To 1e-5 of the largest number, which in untrained networks is far from 1."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two states have the same tensors under the same names, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def images() -> Tensor:
    """Two pictures of ``SIZES``, the first one padded, [2, 3, 64, 96]."""
    batch = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    batch[0, :, 60:] = 0
    batch[0, :, :, 80:] = 0
    return batch


def targets() -> list[dict[str, Tensor]]:
    return [
        {"boxes": torch.tensor([[4.0, 5, 30, 28], [40, 20, 60, 55]]), "labels": torch.tensor([1, 2])},
        {"boxes": torch.tensor([[50.0, 10, 90, 60]]), "labels": torch.tensor([2])},
    ]
