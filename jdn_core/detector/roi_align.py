"""RoIAlign over the pyramid that is fast on CPUs: one weighted gather for all levels.

torchvision's CPU kernel walks one channel at a time. Measured at 4 x 64 RoIs and 64 channels on one core,
forward and backward took 13.8 ms an image with it and 4.8 ms with the gather. On other devices torchvision's
kernel is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from jdn_core.detector.neck import LEVELS

FINEST, COARSEST = 2, 5  # log2 of the strides of the levels that RoIs are pooled from
SAMPLES = 2  # sampling points along each side of a bin


class PyramidRoIAlign(nn.Module):
    """RoIAlign over P2..P5 into ``side`` x ``side`` bins.

    A RoI whose side is ``canonical`` pixels is taken from P4, half of it from P3 and so on (FPN paper, eq.
    1). With ``aligned`` a cell's value is that of its middle (Detectron2's RoIAlignV2), else of its corner;
    either way a RoI narrower than one cell is widened to it.
    """

    def __init__(self, side: int, *, canonical: int, aligned: bool = False) -> None:
        super().__init__()
        self.side = side
        self.aligned = aligned
        self.level_of = initLevelMapper(FINEST, COARSEST, canonical_scale=canonical)
        self.kernel = MultiScaleRoIAlign(list(LEVELS), side, SAMPLES, canonical_scale=canonical)
        # Left alone it infers them from the first batch's sizes without padding: wrong for very small images.
        self.kernel.scales = [2.0**-level for level in range(FINEST, COARSEST + 1)]
        self.kernel.map_levels = self.level_of

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Maps levels [B, C, H_l, W_l], boxes [P_i, 4] an image to [sum P_i, C, side, side]; P_i may be 0."""
        if self.aligned:
            boxes = self._shifted(boxes)
        rois = torch.cat(boxes)
        # Without any RoI the kernel returns [0, C, side, side] with a gradient path.
        if rois.device.type != "cpu" or not len(rois):
            pooled: Tensor = self.kernel(features, boxes, list(sizes))
            return pooled
        images = torch.repeat_interleave(torch.tensor([len(part) for part in boxes]))
        levels = [features[name] for name in LEVELS]
        return align(levels, rois, images=images, at=self.level_of(boxes), side=self.side)

    def _shifted(self, boxes: list[Tensor]) -> list[Tensor]:
        """Shifts boxes half a cell to the left and up, in cells of the level that each RoI is pooled from."""
        cells = torch.pow(2.0, self.level_of(boxes) + FINEST).to(boxes[0].dtype)
        parts = torch.split(cells, [len(part) for part in boxes])
        return [part - cell[:, None] / 2 for part, cell in zip(boxes, parts, strict=True)]


def align(levels: Sequence[Tensor], rois: Tensor, *, images: Tensor, at: Tensor, side: int) -> Tensor:
    """Computes the numbers of ``torchvision.ops.roi_align(..., sampling_ratio=2)``, up to rounding.

    Args:
        levels: P2..P5, [B, C, H_l, W_l], best channels-last.
        rois: [P, 4] xyxy in input pixels, P >= 1.
        images: position in the batch of each RoI, [P].
        at: level of each RoI, [P] in 0..3.
        side: bins along a side.

    Returns:
        [P, C, side, side], channels-last.
    """
    heights, widths, counts = (
        torch.tensor(values)
        for values in zip(*((f.shape[2], f.shape[3], f[:, 0].numel()) for f in levels), strict=True)
    )
    rois = rois * torch.pow(2.0, -(at + FINEST).to(rois.dtype))[:, None]
    columns, across = _taps(rois[:, 0], rois[:, 2], widths[at], side)
    rows, down = _taps(rois[:, 1], rois[:, 3], heights[at], side)
    # One table holds the cells of all levels, image by image; ``first`` is where a RoI's image begins in it.
    first = (counts.cumsum(0) - counts)[at] + images * heights[at] * widths[at]
    rows = first[:, None, None] + rows * widths[at][:, None, None]
    cells = rows[:, :, None, :, None] + columns[:, None, :, None, :]
    weights = down[:, :, None, :, None] * across[:, None, :, None, :]
    taps = cells.shape[-1] * cells.shape[-2]
    table = torch.cat([f.permute(0, 2, 3, 1).flatten(0, 2) for f in levels])
    # One fused gather and weighted sum: the samples, 16 times what comes out, are never in memory.
    pooled = functional.embedding_bag(
        cells.reshape(-1, taps),
        table,
        mode="sum",
        per_sample_weights=weights.reshape(-1, taps).to(table.dtype),
    )
    return pooled.view(len(rois), side, side, -1).permute(0, 3, 1, 2)


def _taps(start: Tensor, end: Tensor, limit: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Returns the cells that the bins along one axis read, and their weights, both [P, side, 2 SAMPLES].

    Args:
        start, end: of the RoIs, in cells, [P]; a RoI is at least one cell long.
        limit: cells of the level along this axis, [P].
        side: bins.
    """
    # Rules of torchvision's csrc/ops/cpu/roi_align_kernel.cpp and roi_align_common.h: a RoI is at least one
    # cell long, a point more than a cell outside counts as zero, one before cell 0 reads cell 0, and one
    # behind the last cell reads the last.
    length = (end - start).clamp(min=1)
    steps = (torch.arange(side * SAMPLES, dtype=start.dtype) + 0.5) / (side * SAMPLES)
    points = start[:, None] + steps * length[:, None]
    inside = (points >= -1) & (points <= limit[:, None])
    points = points.clamp(min=0)
    top = limit[:, None] - 1
    low = torch.minimum(points.long(), top)
    high = torch.minimum(low + 1, top)
    fraction = torch.where(low == top, 0, points - low)
    weights = torch.stack([1 - fraction, fraction], dim=-1) * inside[..., None] / SAMPLES
    cells = torch.stack([low, high], dim=-1)
    return cells.view(len(start), side, -1), weights.view(len(start), side, -1)
