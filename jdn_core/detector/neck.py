"""The feature pyramid: P2..P5 from C2..C5, and P6 by subsampling P5 (torchvision's parts)."""

from __future__ import annotations

from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from jdn_core.space.architecture import DetectorSpec

LEVELS = ("0", "1", "2", "3")  # those RoIs are pooled from; "pool" is the RPN's alone


def build_neck(spec: DetectorSpec) -> FeaturePyramidNetwork:
    """Builds lateral 1x1, output 3x3 convolutions with biases; "0".."3", "pool", each [B, neck, H_l, W_l]."""
    return FeaturePyramidNetwork(list(spec.backbone.outs), spec.neck, extra_blocks=LastLevelMaxPool())
