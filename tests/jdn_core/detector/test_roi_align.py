from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align

from jdn_core.detector.roi_align import PyramidRoIAlign

SIZES = [(240, 320), (200, 300)]


def _pyramid() -> dict[str, Tensor]:
    shapes = [(64, 80), (32, 40), (16, 20), (8, 10)]
    levels = [torch.randn(2, 5, *shape).contiguous(memory_format=torch.channels_last) for shape in shapes]
    return {str(i): level.requires_grad_() for i, level in enumerate(levels)}


def _boxes(count: int) -> Tensor:
    """Of all sizes, some of them beyond the border and some without any extent."""
    corner = torch.rand(count, 2) * 340 - 20
    return torch.cat([corner, corner + torch.rand(count, 2) ** 3 * 300 * (torch.rand(count, 1) > 0.1)], dim=1)


def test_gather_and_its_gradient_equal_torchvisions_kernel() -> None:
    features, boxes = _pyramid(), [_boxes(60), _boxes(40)]
    pool = PyramidRoIAlign(7, canonical=112)
    ours, theirs = pool(features, boxes, SIZES), pool.kernel(features, boxes, SIZES)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    direction = torch.randn_like(theirs)
    gradients = [torch.autograd.grad(pooled, list(features.values()), direction) for pooled in (ours, theirs)]
    for mine, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-3, rtol=1e-3)


def test_all_four_levels_are_read() -> None:
    sides = torch.tensor([20.0, 60, 120, 230])
    boxes = torch.stack([torch.zeros(4), torch.zeros(4), sides, sides], dim=1)
    assert PyramidRoIAlign(7, canonical=112).level_of([boxes]).tolist() == [0, 1, 2, 3]


def test_images_without_rois_give_no_rows() -> None:
    pool = PyramidRoIAlign(7, canonical=112)
    none = torch.zeros(0, 4)
    assert pool(_pyramid(), [none, none], SIZES).shape == (0, 5, 7, 7)
    assert pool(_pyramid(), [none, _boxes(3)], SIZES).shape == (3, 5, 7, 7)


def test_aligned_equals_torchvisions_aligned_kernel() -> None:
    features, boxes = _pyramid(), _boxes(60)
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 32)  # one cell of the coarsest level at least
    pool = PyramidRoIAlign(7, canonical=112, aligned=True)
    pooled = pool(features, [boxes, boxes[:0]], SIZES)
    for level, feature in enumerate(features.values()):
        here = pool.level_of([boxes]) == level
        reference = roi_align(feature, [boxes[here], boxes[:0]], 7, 2.0 ** -(level + 2), 2, aligned=True)
        torch.testing.assert_close(pooled[here], reference, atol=1e-4, rtol=1e-4)
