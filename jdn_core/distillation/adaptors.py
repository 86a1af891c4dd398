"""Convolutions from a student's RoI features to its teacher's, one per pyramid level (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jdn_core.detector.neck import LEVELS
from jdn_core.pool.elastic_ops import ElasticConv2d


class Adaptors(nn.ModuleList):
    """A 3x3 convolution of stride 1 for each of P2..P5, applied after RoIAlign.

    They follow the width of their input, so that those of a super-network serve whichever subnet is active.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Draws fresh weights; ``inputs`` is the student's widest neck, ``outputs`` the teacher's neck."""
        super().__init__(ElasticConv2d.of(nn.Conv2d(inputs, outputs, 3, padding=1)) for _ in LEVELS)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pooled: Tensor, levels: Tensor) -> Tensor:
        """Applies to each RoI its own level's convolution.

        Args:
            pooled: RoI features [N, c, S, S], c up to ``inputs``; N may be 0.
            levels: [N], 0 for P2 to 3 for P5, the level that each RoI was pooled from.

        Returns:
            [N, outputs, S, S] in the order of ``pooled``.
        """
        # Sorted by level, each convolution runs once on all its RoIs, also on none: each has a gradient.
        order = levels.argsort(stable=True)
        counts = levels.bincount(minlength=len(self)).tolist()
        parts = torch.split(pooled[order], counts)
        adapted = torch.cat([adaptor(part) for adaptor, part in zip(self, parts, strict=True)])
        return adapted[order.argsort()]
