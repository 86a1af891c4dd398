"""What torch counts in a built detector, without memory for it: the other side of ``complexity``."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jdn_core.detector.build import Detector
from jdn_core.space.architecture import DetectorSpec, Resolution


def on_meta(spec: DetectorSpec) -> Detector:
    with torch.device("meta"):
        return Detector(spec).eval()


@torch.no_grad()
def count_macs(detector: Detector, frame: Resolution) -> tuple[int, int]:
    """Multiply-accumulates of convolutions and linear layers, in the backbone and in all of it."""
    region = detector.spec.region
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        levels = detector.backbone(torch.empty(1, 3, frame.height, frame.width))
        backbone = counter.get_total_flops()
        detector.rpn.head(list(detector.neck(levels).values()))
        pooled = torch.empty(region.proposals[1], detector.spec.neck, region.pooled, region.pooled)
        detector.roi.box_predictor(detector.roi.box_head(pooled))
    return backbone // 2, counter.get_total_flops() // 2


def count_params(detector: Detector) -> tuple[int, int]:
    """Trainable parameters, in the backbone and in all of it."""
    return _numel(detector.backbone), _numel(detector)


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
