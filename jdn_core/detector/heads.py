"""The region proposal network and the box head: torchvision's parts with the numbers of a ``RegionSpec``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from jdn_core.detector.naming import BOX_WEIGHTS
from jdn_core.detector.roi_align import PyramidRoIAlign
from jdn_core.space.architecture import DetectorSpec

RPN_NMS_IOU = 0.7
CPU = torch.device("cpu")


class ExactAnchorGenerator(AnchorGenerator):  # type: ignore[misc]  # torchvision has no types
    """Anchors as MMDetection and Detectron2 have them: torchvision's, without rounding to whole pixels."""

    def generate_anchors(
        self,
        scales: Sequence[int],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device = CPU,
    ) -> Tensor:
        """Returns the anchors of one cell around (0, 0), [ratios x scales, 4] xyxy in pixels."""
        sides = torch.as_tensor(scales, dtype=dtype, device=device)
        roots = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        widths, heights = torch.outer(1 / roots, sides).flatten(), torch.outer(roots, sides).flatten()
        return torch.stack([-widths, -heights, widths, heights], dim=1) / 2


class ExactRPNHead(RPNHead):  # type: ignore[misc]  # torchvision has no types
    """torchvision's head, whose objectness and deltas are float32 under autocast too: they move boxes."""

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps each level [B, C, H_l, W_l] to objectness [B, A, H_l, W_l] and deltas [B, 4 A, H_l, W_l]."""
        objectness, deltas = super().forward(levels)
        return [level.float() for level in objectness], [level.float() for level in deltas]


def build_rpn(spec: DetectorSpec) -> RegionProposalNetwork:
    """Builds a 3x3 convolution, objectness and deltas over five levels; thresholds as in Faster R-CNN."""
    region = spec.region
    sizes = tuple((size,) for size in region.anchor_sizes)
    anchors = AnchorGenerator if region.rounded_anchors else ExactAnchorGenerator
    before, after = zip(region.train_proposals, region.proposals, strict=True)
    return RegionProposalNetwork(
        anchors(sizes, (region.aspect_ratios,) * len(sizes)),
        ExactRPNHead(spec.neck, len(region.aspect_ratios)),
        fg_iou_thresh=0.7,  # section 3.1.2
        bg_iou_thresh=0.3,
        batch_size_per_image=region.anchors_per_image,
        positive_fraction=0.5,  # section 3.1.3
        pre_nms_top_n=dict(zip(("training", "testing"), before, strict=True)),
        post_nms_top_n=dict(zip(("training", "testing"), after, strict=True)),
        nms_thresh=RPN_NMS_IOU,
    )


def build_roi_heads(spec: DetectorSpec) -> RoIHeads:
    """Builds RoIAlign, two linear layers, class logits [P, K + 1] (0 is background), deltas [P, 4 (K + 1)].

    A RoI of seven times the smallest anchor's side is pooled from P4: the FPN paper's 224 pixels where
    anchors start at 32, and the same share of the levels where a small input has smaller anchors (ours).
    """
    region = spec.region
    classes = len(spec.classes) + 1
    return RoIHeads(
        PyramidRoIAlign(region.pooled, canonical=7 * region.anchor_sizes[0], aligned=region.aligned),
        TwoMLPHead(spec.neck * region.pooled**2, spec.head),
        FastRCNNPredictor(spec.head, classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=region.rois_per_image,
        positive_fraction=0.25,  # Fast R-CNN, section 2.3
        bbox_reg_weights=BOX_WEIGHTS,
        score_thresh=region.score_threshold,
        nms_thresh=region.nms_iou,
        detections_per_img=region.detections,
    )


def box_losses(
    logits: Tensor, deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Computes cross-entropy and smooth L1 of the sampled RoIs (torchvision's), both scalars.

    Args:
        logits: [P, K + 1].
        deltas: [P, 4 (K + 1)].
        labels: per image [P_i], 0 for background.
        regression_targets: per image [P_i, 4].

    Returns:
        Zeros that keep the graph where P = 0 (images without boxes whose proposals are all degenerate).
    """
    if not len(logits):
        return logits.sum(), deltas.sum()
    classifier, box_reg = fastrcnn_loss(logits, deltas, labels, regression_targets)
    return classifier, box_reg
