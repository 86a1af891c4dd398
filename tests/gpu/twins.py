"""torchvision's own Faster R-CNN of the same architecture and weights, at any width and depth."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from jdn_core.detector.build import Detector
from jdn_core.detector.naming import TORCHVISION
from jdn_core.space.architecture import BackboneSpec, DetectorSpec, Resolution


class _ResNet(ResNet):
    """torchvision's ResNet with the widths of a specification instead of 64, 128, 256 and 512."""

    def __init__(self, spec: BackboneSpec) -> None:
        kind = BasicBlock if spec.stages[0][0].kind == "basic" else Bottleneck
        self._stem = spec.stem
        self._inner = {64 << stage: blocks[0].channels[0] for stage, blocks in enumerate(spec.stages)}
        super().__init__(kind, [len(blocks) for blocks in spec.stages])
        self.conv1 = nn.Conv2d(3, spec.stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(spec.stem)

    def _make_layer(self, block: Any, planes: int, *rest: Any, **named: Any) -> nn.Sequential:
        if planes == 64:  # the first one, which reads the stem
            self.inplanes = self._stem
        layer: nn.Sequential = super()._make_layer(block, self._inner[planes], *rest, **named)
        return layer


def twin(detector: Detector) -> FasterRCNN:
    """Makes torchvision's detector with the weights of ours, on its device.

    Raises:
        RuntimeError: the architecture is not torchvision's.
    """
    model = _faster_rcnn(detector.spec)
    modules = TORCHVISION.modules(detector.spec)
    named = ((name.rpartition("."), tensor) for name, tensor in detector.state_dict().items())
    state = {f"{modules[module]}.{leaf}": tensor for (module, _, leaf), tensor in named}
    model.load_state_dict(state)
    return model.to(next(detector.parameters()).device)


def set_frame(model: FasterRCNN, frame: Resolution) -> None:
    """Makes detection resize pictures of this frame to their own size."""
    model.transform.min_size, model.transform.max_size = (min(frame),), max(frame)


def _faster_rcnn(spec: DetectorSpec) -> FasterRCNN:
    region = spec.region
    layers = {f"layer{stage + 1}": str(stage) for stage in range(4)}
    backbone = BackboneWithFPN(_ResNet(spec.backbone), layers, list(spec.backbone.outs), spec.neck)
    sizes = tuple((size,) for size in region.anchor_sizes)
    return FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(sizes, (region.aspect_ratios,) * len(sizes)),
        rpn_pre_nms_top_n_train=region.train_proposals[0],
        rpn_post_nms_top_n_train=region.train_proposals[1],
        rpn_pre_nms_top_n_test=region.proposals[0],
        rpn_post_nms_top_n_test=region.proposals[1],
        rpn_batch_size_per_image=region.anchors_per_image,
        box_head=TwoMLPHead(spec.neck * region.pooled**2, spec.head),
        box_predictor=FastRCNNPredictor(spec.head, len(spec.classes) + 1),
        box_batch_size_per_image=region.rois_per_image,
        box_score_thresh=region.score_threshold,
        box_nms_thresh=region.nms_iou,
        box_detections_per_img=region.detections,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
        _skip_resize=True,  # in training; detection resizes in any case, see ``set_frame``
    )
