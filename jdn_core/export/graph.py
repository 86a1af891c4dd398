"""A detector as a graph of fixed shapes: what exporters can trace, with NMS inside and any batch.

``Detector.detect`` returns lists of different lengths. Here every image has ``detections`` rows, of which the
first ``count`` are real; proposals and candidates that do not count have a score below zero instead of being
cut away. Numbers are those of ``detect`` up to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import nms, roi_align

from jdn_core.detector.build import Detector
from jdn_core.detector.heads import RPN_NMS_IOU
from jdn_core.detector.neck import LEVELS
from jdn_core.detector.roi_align import FINEST, SAMPLES

RPN_SIDE, BOX_SIDE = 1e-3, 1e-2  # least sides of proposals and of detections in pixels, torchvision's
NOTHING = -1.0  # score of a row that does not count
Keep = Callable[[Tensor, Tensor, float, float], Tensor]


@dataclass(frozen=True, eq=False)
class Rows:
    """Boxes [B, N, 4] xyxy in input pixels with their scores [B, N]; ``NOTHING`` marks rows without a box."""

    boxes: Tensor
    scores: Tensor

    def best(self, count: int) -> tuple[Rows, Tensor]:
        """Returns the ``count`` <= N rows of the highest scores, falling, and where they were, [B, count]."""
        scores, where = self.scores.topk(count, dim=1)
        return Rows(_taken(self.boxes, where), scores), where


class ExportGraph(nn.Module):
    """Maps images [B, 3, H, W] in 0..1 and sizes [B, 2] (height, width) to detections.

    H and W are multiples of 32; what is outside an image's size is not looked at. Returns boxes [B, D, 4]
    xyxy in input pixels, scores [B, D] falling, labels [B, D] in 1..K and counts [B]; rows from the count on
    are zero.

    Args:
        detector: in eval mode; it is copied, and BN is folded into the convolutions of the copy.
        keep: non-maximum suppression of this form, see ``keep_mask``.
        half: compute the network in float16; boxes and scores stay float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, detector: Detector, *, keep: Keep, half: bool = False) -> None:
        super().__init__()
        spec = detector.spec
        network = _folded(copy.deepcopy(detector).eval())
        self.region = spec.region
        self.classes = len(spec.classes)
        before, after = spec.region.proposals
        self.rois = min(after, len(spec.region.anchor_sizes) * before)
        self.dtype = torch.float16 if half else torch.float32
        self.keep = keep
        self.body, self.neck = network.backbone.to(self.dtype), network.neck.to(self.dtype)
        self.rpn_head = network.rpn.head.to(self.dtype)
        self.box_head = network.roi.box_head.to(self.dtype)
        self.box_predictor = network.roi.box_predictor.to(self.dtype)
        self.rpn_coder, self.box_coder = network.rpn.box_coder, network.roi.box_coder
        self.level_of = network.roi.box_roi_pool.level_of
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))
        for level, cells in enumerate(network.rpn.anchor_generator.cell_anchors):
            self.register_buffer(f"anchors{level}", cells.float())

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Computes detections; the class says the shapes."""
        limits = sizes.flip(1).repeat(1, 2).float()[:, None]  # [B, 1, 4]: width, height, width, height
        levels = self._features(images, sizes)
        proposals = self._proposals(levels, images, limits)
        candidates = self._candidates(levels[: len(LEVELS)], proposals, limits)
        count = min(self.region.detections, self.classes * self.rois)
        found, where = candidates.best(count)
        real = found.scores > NOTHING
        labels = torch.div(where, self.rois, rounding_mode="floor") + 1
        boxes = torch.where(real[:, :, None], found.boxes, 0.0)
        return boxes, torch.where(real, found.scores, 0.0), torch.where(real, labels, 0), real.sum(1)

    def _features(self, images: Tensor, sizes: Tensor) -> list[Tensor]:
        """Returns the five pyramid levels, float32 [B, neck, H_l, W_l]; padded as ``normalise`` does."""
        rows = torch.arange(images.shape[2]) < sizes[:, :1]
        columns = torch.arange(images.shape[3]) < sizes[:, 1:]
        inside = (rows[:, :, None] & columns[:, None, :])[:, None]
        normal = torch.where(inside, (images - self.mean) / self.std, 0.0)
        return [level.float() for level in self.neck(self.body(normal.to(self.dtype))).values()]

    def _proposals(self, levels: list[Tensor], images: Tensor, limits: Tensor) -> Rows:
        """Returns the best proposals of all levels after NMS in each, N = ``region.proposals[1]``."""
        objectness, deltas = self.rpn_head([level.to(self.dtype) for level in levels])
        parts = [
            self._of_level(number, objectness[number].float(), deltas[number].float(), images, limits)
            for number in range(len(levels))
        ]
        rows = Rows(torch.cat([p.boxes for p in parts], 1), torch.cat([p.scores for p in parts], 1))
        return rows.best(self.rois)[0]

    def _of_level(
        self, number: int, objectness: Tensor, deltas: Tensor, images: Tensor, limits: Tensor
    ) -> Rows:
        """Returns ``region.proposals[0]`` rows of one level; fewer anchors are filled up with nothing."""
        before = self.region.proposals[0]
        batch, _, height, width = objectness.shape
        anchors = self._anchors(number, height, width, images)
        logits = objectness.permute(0, 2, 3, 1).flatten(1)
        deltas = deltas.reshape(batch, -1, 4, height, width).permute(0, 3, 4, 1, 2).flatten(1, 3)
        filler = logits.new_full((1, before), -torch.inf).expand(batch, before)
        best, where = torch.cat([logits, filler], 1).topk(before, dim=1)
        where = where.clamp(max=anchors.shape[0] - 1)
        chosen = self.rpn_coder.decode_single(
            _taken(deltas, where).flatten(0, 1), anchors[where].flatten(0, 1)
        )
        boxes = _clipped(chosen.reshape(batch, before, 4), limits)
        real = (best > -torch.inf) & _has_sides(boxes, RPN_SIDE)
        return self._suppressed(boxes, torch.where(real, best.sigmoid(), NOTHING), RPN_NMS_IOU, NOTHING / 2)

    def _anchors(self, number: int, height: int, width: int, images: Tensor) -> Tensor:
        """Returns torchvision's anchors of a level, [height width A, 4], row by row."""
        down = torch.arange(height) * (images.shape[2] // height)
        across = torch.arange(width) * (images.shape[3] // width)
        corners = torch.stack(
            [across[None].expand(height, width), down[:, None].expand(height, width)], dim=2
        ).float()
        cells = self.get_buffer(f"anchors{number}")
        return (corners.repeat(1, 1, 2)[:, :, None] + cells).flatten(0, 2)

    def _candidates(self, levels: list[Tensor], proposals: Rows, limits: Tensor) -> Rows:
        """Returns a box of each class for each proposal after NMS, class by class: N = K P."""
        batch, count = proposals.scores.shape[0], self.rois
        pooled = self._pooled(levels, proposals.boxes).to(self.dtype)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        scores = logits.float().softmax(-1)[:, 1:].reshape(batch, count, self.classes).transpose(1, 2)
        boxes = self.box_coder.decode_single(deltas.float(), proposals.boxes.flatten(0, 1))
        boxes = boxes.reshape(batch, count, self.classes + 1, 4)[:, :, 1:].transpose(1, 2)
        boxes = _clipped(boxes, limits[:, None])
        real = (proposals.scores > NOTHING)[:, None] & _has_sides(boxes, BOX_SIDE)
        scores = torch.where(real, scores, NOTHING)
        region = self.region
        rows = self._suppressed(
            boxes.flatten(0, 1), scores.flatten(0, 1), region.nms_iou, region.score_threshold
        )
        return Rows(boxes.flatten(1, 2), rows.scores.reshape(batch, self.classes * count))

    def _suppressed(self, boxes: Tensor, scores: Tensor, iou: float, above: float) -> Rows:
        return Rows(boxes, torch.where(self.keep(boxes, scores, iou, above), scores, NOTHING))

    def _pooled(self, levels: list[Tensor], boxes: Tensor) -> Tensor:
        """Returns RoI-aligned features [B P, neck, side, side] of boxes [B, P, 4], each out of its level."""
        batch, count = boxes.shape[0], self.rois
        flat = boxes.flatten(0, 1)
        at = self.level_of([flat])
        images = torch.arange(batch)[:, None].expand(batch, count).flatten()
        if self.region.aligned:  # half a cell to the left and up, see PyramidRoIAlign
            flat = flat - torch.pow(2.0, at + FINEST - 1)[:, None]
        rois = torch.cat([images[:, None].to(flat.dtype), flat], 1)
        side = self.region.pooled
        pooled = flat.new_zeros(batch * count, levels[0].shape[1], side, side)
        for number, level in enumerate(levels):
            (here,) = torch.where(at == number)
            part = roi_align(level, rois[here], side, 2.0 ** -(number + FINEST), SAMPLES)
            pooled = pooled.index_put((here,), part)
        return pooled


def keep_mask(boxes: Tensor, scores: Tensor, iou: float, above: float) -> Tensor:
    """Suppresses what overlaps a better box of its group by more than ``iou``.

    Args:
        boxes: [G, N, 4] xyxy.
        scores: [G, N].
        iou: intersection over union.
        above: rows of this score or less are suppressed without a look.

    Returns:
        Which boxes stay, bool [G, N].
    """
    rows = scores.flatten()
    (looked_at,) = torch.where(rows > above)
    # Groups are moved apart, in float64: in float32 the distance would cost digits of the overlap.
    apart = torch.div(looked_at, scores.shape[1], rounding_mode="floor") * (boxes.max().double() + 1)
    moved = boxes.flatten(0, 1)[looked_at].double() + apart[:, None]
    # torch.export takes it for granted that two boxes stay; so two do, apart from all others.
    alone = torch.tensor([[-3.0, -3.0, -2.0, -2.0], [-6.0, -6.0, -5.0, -5.0]], dtype=torch.float64)
    count = rows.shape[0]
    places = torch.cat([looked_at, torch.arange(2) + count])
    worst = torch.full((2,), 2 * NOTHING, dtype=torch.float64)
    best = torch.cat([rows[looked_at].double(), worst])
    stay = places[nms(torch.cat([moved, alone]), best, iou)]
    kept = torch.zeros(count + 2, dtype=rows.dtype).index_fill(0, stay, 1.0)
    return kept[:count].reshape(scores.shape) > 0


def _folded(network: Detector) -> Detector:
    """Folds each BN into the convolution before it, ``bn2`` into ``conv2`` of the same module."""
    for parent in network.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                before = name.replace("bn", "conv")
                convolution = cast(nn.Conv2d, parent.get_submodule(before))
                parent.register_module(before, fuse_conv_bn_eval(convolution, child))
                parent.register_module(name, nn.Identity())
    return network


def _taken(rows: Tensor, where: Tensor) -> Tensor:
    """Returns rows [B, N, 4] at positions [B, n]."""
    return rows.gather(1, where[:, :, None].expand(-1, -1, 4))


def _clipped(boxes: Tensor, limits: Tensor) -> Tensor:
    """Moves corners of boxes [..., 4] into the image, whose limits are broadcast."""
    return torch.minimum(boxes.clamp(min=0), limits)


def _has_sides(boxes: Tensor, least: float) -> Tensor:
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides >= least).all(-1)
