"""A tiny student, teachers with other necks, and a batch they share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from jdn_core.detector.build import Detector, TrainingOutput, build
from jdn_core.space.architecture import DetectorSpec, RegionSpec
from jdn_core.space.families import family


@dataclass(frozen=True, eq=False)
class Shared:
    """Images with their sizes and targets."""

    images: Tensor
    sizes: list[tuple[int, int]]
    targets: list[dict[str, Tensor]]

    def step(self, detector: Detector) -> TrainingOutput:
        return detector.training_step(self.images, self.sizes, self.targets)


@pytest.fixture
def shared() -> Shared:
    boxes = torch.tensor([[4.0, 4, 20, 20], [20, 10, 90, 60]]), torch.tensor([[5.0, 5, 70, 50]])
    targets = [{"boxes": b, "labels": torch.arange(1, len(b) + 1)} for b in boxes]
    return Shared(torch.rand(2, 3, 64, 96), [(64, 96), (60, 80)], targets)


@pytest.fixture
def student_spec() -> DetectorSpec:
    region = RegionSpec(
        anchor_sizes=(8, 16, 32, 64, 128), train_proposals=(60, 30), proposals=(60, 30), rois_per_image=16
    )
    return DetectorSpec(
        family("r18", width=1 / 8), ((1, "circle"), (7, "square")), neck=16, head=16, region=region
    )


@pytest.fixture
def student(student_spec: DetectorSpec) -> Detector:
    return build(student_spec).train()


@pytest.fixture(params=[16, 24], ids=["same-neck", "wider-neck"])
def teacher(request: pytest.FixtureRequest, student_spec: DetectorSpec, shared: Shared) -> Detector:
    """With BN statistics of the shared images, as a BN reset leaves them."""
    teacher = build(replace(student_spec, backbone=family("r50", width=1 / 8), neck=request.param))
    with torch.no_grad():
        for _ in range(20):
            teacher.train().features(shared.images, shared.sizes)
    return teacher.eval()
