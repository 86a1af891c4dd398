"""Adaptors: each RoI through its own level's convolution, at any active width."""

from __future__ import annotations

import pytest
import torch

from jdn_core.distillation.adaptors import Adaptors


@pytest.mark.parametrize("width", [4, 6])
def test_every_roi_goes_through_the_adaptor_of_its_level(width: int) -> None:
    adaptors = Adaptors(6, 8)
    pooled, levels = torch.randn(7, width, 7, 7), torch.tensor([2, 0, 3, 0, 2, 2, 0])
    adapted = adaptors(pooled, levels)
    assert adapted.shape == (7, 8, 7, 7)
    for i, level in enumerate(levels.tolist()):
        weight, bias = adaptors[level].weight[:, :width], adaptors[level].bias
        expected = torch.nn.functional.conv2d(pooled[i : i + 1], weight, bias, padding=1)
        torch.testing.assert_close(adapted[i : i + 1], expected, rtol=1e-4, atol=1e-5)


def test_a_level_without_rois_gets_a_zero_gradient() -> None:
    adaptors = Adaptors(4, 4)
    adapted = adaptors(torch.randn(3, 4, 7, 7), torch.tensor([1, 1, 2]))
    gradients = torch.autograd.grad(adapted.sum(), [p for p in adaptors.parameters() if p.ndim > 1])
    assert [bool(gradient.any()) for gradient in gradients] == [False, True, True, False]


def test_no_rois_at_all_keep_shape_and_gradient() -> None:
    adaptors = Adaptors(4, 8)
    adapted = adaptors(torch.zeros(0, 4, 7, 7), torch.zeros(0, dtype=torch.int64))
    adapted.sum().backward()
    assert adapted.shape == (0, 8, 7, 7)
    assert all(adaptor.weight.grad is not None for adaptor in adaptors)


def test_only_the_active_channels_of_an_elastic_student_learn() -> None:
    adaptors = Adaptors(6, 8)
    adapted = adaptors(torch.randn(2, 4, 7, 7), torch.tensor([0, 0]))
    (gradient,) = torch.autograd.grad(adapted.square().sum(), [next(adaptors.parameters())])
    assert torch.count_nonzero(gradient[:, :4]) == gradient[:, :4].numel()
    assert torch.count_nonzero(gradient[:, 4:]) == 0
