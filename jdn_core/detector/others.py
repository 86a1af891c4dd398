"""Detectors of other kinds, told by names that only they have, and what wrappers put before names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from jdn_core.detector.naming import naming_of

T = TypeVar("T")
# Lightning, EMA, DataParallel, torch.compile, DeepSpeed, distillation and training scripts write them.
_WRAPPERS = frozenset(
    {
        "model", "module", "net", "network", "detector", "ema", "ema_model", "model_ema", "averaged_model",
        "student", "teacher", "_orig_mod", "_forward_module", "online_model", "_model", "base_model",
    }
)  # fmt: skip
_DEEPEST = 4
# Beginnings of names, all of which a detector must have; the first row that fits counts.
_OTHERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Detectron2's keypoint R-CNN", ("proposal_generator.", "roi_heads.keypoint_head.")),
    ("Detectron2's Mask R-CNN", ("proposal_generator.", "roi_heads.mask_head.")),
    ("Detectron2's Cascade R-CNN", ("proposal_generator.", "roi_heads.box_head.0.fc1.")),
    ("Detectron2's Faster R-CNN without FPN (C4)", ("proposal_generator.", "roi_heads.res5.")),
    ("Detectron2's RetinaNet", ("backbone.bottom_up.", "head.cls_score.")),
    ("torchvision's keypointrcnn_resnet50_fpn", ("roi_heads.keypoint_head.",)),
    ("torchvision's maskrcnn_resnet50_fpn_v2", ("roi_heads.mask_head.", "roi_heads.box_head.0.0.")),
    ("torchvision's maskrcnn_resnet50_fpn", ("roi_heads.mask_head.",)),
    ("torchvision's fasterrcnn_resnet50_fpn_v2", ("backbone.body.conv1.", "roi_heads.box_head.0.0.")),
    ("torchvision's fasterrcnn_mobilenet_v3_large_fpn", ("backbone.body.0.0.", "roi_heads.box_head.")),
    ("torchvision's fcos_resnet50_fpn", ("head.regression_head.bbox_ctrness.",)),
    ("torchvision's retinanet_resnet50_fpn", ("head.classification_head.cls_logits.",)),
    ("torchvision's SSD", ("head.classification_head.module_list.",)),
    ("MMDetection's Cascade R-CNN", ("roi_head.bbox_head.0.",)),
    ("MMDetection's Mask R-CNN", ("roi_head.mask_head.",)),
    ("MMDetection's RetinaNet", ("bbox_head.retina_cls.",)),
    ("MMDetection's FCOS", ("bbox_head.conv_cls.", "bbox_head.conv_centerness.")),
    ("MMDetection's RTMDet", ("bbox_head.rtm_cls.",)),
    ("MMDetection's YOLOX", ("bbox_head.multi_level_conv_cls.",)),
    ("a Swin transformer's detector", ("backbone.patch_embed.",)),
    ("DETR or one of its kind", ("class_embed.", "transformer.")),
    ("a YOLO of Ultralytics", ("model.0.conv.", "model.1.conv.")),
    ("a YOLO of Ultralytics", ("0.conv.", "1.conv.")),
)


def other_detector(names: Iterable[str]) -> str | None:
    """Returns what a checkpoint is that cannot be read; None where nothing says so."""
    known = tuple(names)
    for title, marks in _OTHERS:
        if all(any(name.startswith(mark) for name in known) for mark in marks):
            return title
    return None


def detectors_in(tensors: Mapping[str, T], *, depth: int = _DEEPEST) -> Iterator[tuple[str, dict[str, T]]]:
    """Yields (prefix, tensors without it) of every detector in a checkpoint, at any depth of wrappers.

    A prefix counts that is a wrapper's, or that all names have.
    """
    if naming_of(tensors) or other_detector(tensors):
        yield "", dict(tensors)
        return
    firsts = dict.fromkeys(name.partition(".")[0] for name in tensors)
    for first in firsts if depth else ():
        inner = {
            name[len(first) + 1 :]: each for name, each in tensors.items() if name.startswith(f"{first}.")
        }
        if inner and (first in _WRAPPERS or len(firsts) == 1):
            for prefix, found in detectors_in(inner, depth=depth - 1):
                yield f"{first}.{prefix}", found
