"""Wrappers of checkpoints are seen through, and those of other detectors are told what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import detection

from jdn_core.detector.checkpoint_file import read_checkpoint
from jdn_core.detector.naming import NAMINGS, TORCHVISION, Naming
from jdn_core.detector.others import other_detector
from jdn_core.errors import CheckpointError
from tests.jdn_core.detector.foreign import save, spec_of, state_of, trained

LIBRARIES = [naming for naming in NAMINGS if naming.around]


def names_of(builder: str) -> list[str]:
    """Names of the tensors of a model of torchvision, which is built without memory."""
    with torch.device("meta"):
        model = getattr(detection, builder)(weights=None, weights_backbone=None)
    return list(model.state_dict())


@pytest.mark.parametrize(
    ("builder", "title"),
    [
        ("fasterrcnn_resnet50_fpn_v2", "torchvision's fasterrcnn_resnet50_fpn_v2"),
        ("fasterrcnn_mobilenet_v3_large_fpn", "torchvision's fasterrcnn_mobilenet_v3_large_fpn"),
        ("maskrcnn_resnet50_fpn", "torchvision's maskrcnn_resnet50_fpn"),
        ("maskrcnn_resnet50_fpn_v2", "torchvision's maskrcnn_resnet50_fpn_v2"),
        ("keypointrcnn_resnet50_fpn", "torchvision's keypointrcnn_resnet50_fpn"),
        ("retinanet_resnet50_fpn", "torchvision's retinanet_resnet50_fpn"),
        ("fcos_resnet50_fpn", "torchvision's fcos_resnet50_fpn"),
        ("ssd300_vgg16", "torchvision's SSD"),
        ("fasterrcnn_resnet50_fpn", None),
    ],
)
def test_detectors_of_torchvision_are_told_apart(builder: str, title: str | None) -> None:
    assert other_detector(names_of(builder)) == title


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["backbone.conv1.weight", "roi_head.bbox_head.0.fc_cls.weight"], "MMDetection's Cascade R-CNN"),
        (["backbone.conv1.weight", "bbox_head.retina_cls.weight"], "MMDetection's RetinaNet"),
        (["proposal_generator.rpn_head.conv.weight", "roi_heads.mask_head.x"], "Detectron2's Mask R-CNN"),
        (["model.0.conv.weight", "model.1.conv.weight", "model.22.dfl.conv.weight"], "a YOLO of Ultralytics"),
        (
            ["model.transformer.a", "model.class_embed.weight", "model.bbox_embed.x"],
            "DETR or one of its kind",
        ),
    ],
)
def test_another_detector_is_told_in_one_line_what_it_is(
    names: list[str], title: str, tmp_path: Path
) -> None:
    file = save({name: torch.ones(2) for name in names}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(file)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{file}: is {title}; what can be read is a Faster R-CNN with FPN")


@pytest.mark.parametrize("naming", LIBRARIES, ids=lambda naming: naming.title)
@pytest.mark.parametrize(
    "prefix", ["model.", "module.model.", "_orig_mod.", "ema_model.module.", "anything."]
)
def test_what_wrappers_put_before_names_is_seen_through(naming: Naming, prefix: str, tmp_path: Path) -> None:
    state = state_of(trained(spec_of(naming)), naming)
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    wrapped |= (
        {} if prefix == "anything." else {"criterion.weight": torch.ones(2), "n_averaged": torch.tensor(3)}
    )
    found = read_checkpoint(save({"state_dict": wrapped, "epoch": 3}, tmp_path / "a.pth"))
    plain = read_checkpoint(save(state, tmp_path / "b.pth"))
    assert (found.naming, found.tensors.keys()) == (naming, plain.tensors.keys())
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in plain.tensors.items())


@pytest.mark.parametrize(
    "prefixes", [("student.", "teacher."), ("model.", "model_ema."), ("net.a.", "ema.a.")]
)
def test_of_several_detectors_none_is_guessed(prefixes: tuple[str, str], tmp_path: Path) -> None:
    state = state_of(trained(spec_of(TORCHVISION)), TORCHVISION)
    both = {prefix + name: tensor for prefix in prefixes for name, tensor in state.items()}
    with pytest.raises(
        CheckpointError, match=r"holds several detectors, under .*; save the one that is wanted"
    ):
        read_checkpoint(save(both, tmp_path / "a.pth"))
