from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from jdn_core.detector.build import Detector
from jdn_core.detector.naming import (
    CLASSIFIER,
    DETECTRON2,
    MMDETECTION,
    NAMINGS,
    TORCHVISION,
    Naming,
    naming_of,
)
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import Family, family

CLASSES = tuple((number, f"class {number}") for number in range(1, 91))
# Read off the libraries' sources and off converters between them.
MMDETECTION_NAMES = [
    "backbone.conv1.weight",
    "backbone.bn1.running_var",
    "backbone.layer1.0.conv1.weight",
    "backbone.layer4.2.bn3.bias",
    "backbone.layer2.0.downsample.0.weight",
    "backbone.layer2.0.downsample.1.running_mean",
    "neck.lateral_convs.0.conv.weight",
    "neck.lateral_convs.3.conv.bias",
    "neck.fpn_convs.3.conv.weight",
    "rpn_head.rpn_conv.weight",
    "rpn_head.rpn_cls.bias",
    "rpn_head.rpn_reg.weight",
    "roi_head.bbox_head.shared_fcs.0.weight",
    "roi_head.bbox_head.shared_fcs.1.bias",
    "roi_head.bbox_head.fc_cls.weight",
    "roi_head.bbox_head.fc_reg.bias",
]
DETECTRON2_NAMES = [
    "backbone.bottom_up.stem.conv1.weight",
    "backbone.bottom_up.stem.conv1.norm.running_mean",
    "backbone.bottom_up.res2.0.shortcut.weight",
    "backbone.bottom_up.res2.0.shortcut.norm.weight",
    "backbone.bottom_up.res5.2.conv3.weight",
    "backbone.bottom_up.res4.5.conv2.norm.running_var",
    "backbone.fpn_lateral2.weight",
    "backbone.fpn_lateral5.bias",
    "backbone.fpn_output2.weight",
    "proposal_generator.rpn_head.conv.weight",
    "proposal_generator.rpn_head.objectness_logits.bias",
    "proposal_generator.rpn_head.anchor_deltas.weight",
    "roi_heads.box_head.fc1.weight",
    "roi_heads.box_head.fc2.bias",
    "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.box_predictor.bbox_pred.bias",
]


def _names(naming: Naming, name: Family) -> dict[str, torch.Size]:
    """Every tensor's name there, and its shape."""
    spec = DetectorSpec(family(name), CLASSES)
    modules = naming.modules(spec)
    with torch.device("meta"):
        state = Detector(spec).state_dict()
    named = ((key.rpartition("."), tensor.shape) for key, tensor in state.items())
    return {f"{modules[m]}.{leaf}": shape for (m, _, leaf), shape in named if m in modules}


def test_every_tensor_of_torchvisions_detector_has_its_name_and_shape() -> None:
    with torch.device("meta"):
        reference = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    assert _names(TORCHVISION, "r50") == {name: tensor.shape for name, tensor in reference.items()}


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("r18", lambda: ResNet(BasicBlock, [2, 2, 2, 2])),
        ("r34", lambda: ResNet(BasicBlock, [3, 4, 6, 3])),
        ("r101", lambda: ResNet(Bottleneck, [3, 4, 23, 3])),
        ("x101", lambda: ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)),
    ],
)
def test_every_tensor_of_torchvisions_backbones_has_its_name_and_shape(
    name: Family, reference: type[ResNet]
) -> None:
    with torch.device("meta"):
        state = reference().state_dict()
    wanted = {key: tensor.shape for key, tensor in state.items() if not key.startswith("fc.")}
    assert _names(CLASSIFIER, name) == wanted


@pytest.mark.parametrize(
    ("naming", "known"), [(MMDETECTION, MMDETECTION_NAMES), (DETECTRON2, DETECTRON2_NAMES)]
)
def test_names_are_those_of_the_librarys_sources(naming: Naming, known: list[str]) -> None:
    assert set(known) <= set(_names(naming, "r50"))


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.title)
def test_a_library_is_told_by_its_names(naming: Naming) -> None:
    names = _names(naming, "r18")
    assert naming_of(names) is naming
    assert naming.depths(names) == [2, 2, 2, 2]


def test_unknown_names_belong_to_no_library() -> None:
    assert naming_of(["encoder.weight"]) is None
