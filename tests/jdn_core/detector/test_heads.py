from __future__ import annotations

import torch

from jdn_core.detector.heads import ExactAnchorGenerator


def test_exact_anchors_have_the_area_and_the_ratio_they_are_named_after() -> None:
    cells = ExactAnchorGenerator(((32,), (64,)), ((0.5, 1.0, 2.0),) * 2).cell_anchors
    for side, anchors in zip((32, 64), cells, strict=True):
        widths, heights = (anchors[:, 2:] - anchors[:, :2]).T
        torch.testing.assert_close(widths * heights, torch.full((3,), float(side**2)))
        torch.testing.assert_close(heights / widths, torch.tensor([0.5, 1, 2]))
        torch.testing.assert_close(anchors[:, :2], -anchors[:, 2:])
