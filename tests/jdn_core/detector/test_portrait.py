from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jdn_core.detector.build import build
from jdn_core.detector.checkpoint_file import read_checkpoint
from jdn_core.detector.naming import CLASSIFIER, DETECTRON2, MMDETECTION, TORCHVISION, Naming
from jdn_core.detector.portrait import Portrait, portrait
from jdn_core.errors import CheckpointError
from jdn_core.settings.detector import CheckpointSettings
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import DEPTHS, Family, family
from tests.jdn_core.detector.foreign import save, state_of
from tests.jdn_core.tiny import REGION


def spec(name: Family, *, width: float = 0.125, classes: int = 2) -> DetectorSpec:
    named = tuple((number, f"c{number}") for number in range(1, classes + 1))
    return DetectorSpec(family(name, width=width), named, neck=16, head=24, region=REGION)


def of(naming: Naming, name: Family, folder: Path, **others: float) -> Portrait:
    detector = build(spec(name, **others))
    return portrait(read_checkpoint(save(state_of(detector, naming), folder / "weights.safetensors")))


@pytest.mark.parametrize("name", DEPTHS)
@pytest.mark.parametrize("naming", [TORCHVISION, MMDETECTION, DETECTRON2], ids=lambda naming: naming.title)
def test_a_detector_is_told_by_its_tensors(naming: Naming, name: Family, tmp_path: Path) -> None:
    width = 0.5 if name == "x101" else 0.125  # narrower ones have one group, as r101 has
    found = of(naming, name, tmp_path, width=width)
    assert found == Portrait(naming.title, name, width, neck=16, head=24, shapes=3, classes=2)
    assert str(found) == (
        f"{naming.title}'s {name} of width {width:g} with FPN 16 and box head 24, 2 classes"
    )


def test_a_backbone_alone_is_told_too(tmp_path: Path) -> None:
    detector = build(spec("r50"))
    state = {name: t for name, t in state_of(detector, TORCHVISION).items() if "body" in name}
    plain = {name.removeprefix("backbone.body."): tensor for name, tensor in state.items()}
    found = portrait(read_checkpoint(save(plain, tmp_path / "r50.pth")))
    assert (found.title, found.family, found.is_whole) == (CLASSIFIER.title, "r50", False)
    assert str(found).endswith(", a backbone alone")


def test_classes_are_named_by_settings_or_known_by_their_number(tmp_path: Path) -> None:
    detector = build(spec("r18", classes=80))
    checkpoint = read_checkpoint(save(state_of(detector, TORCHVISION), tmp_path / "coco.pth"))
    known = portrait(checkpoint).names
    assert known is not None
    assert known[:2] == ("person", "bicycle")
    named = CheckpointSettings(classes=("a", "b"))
    assert portrait(checkpoint, named).names == ("a", "b")


def test_other_depths_are_of_no_family(tmp_path: Path) -> None:
    state = state_of(build(spec("r18")), TORCHVISION)
    state = {name: tensor for name, tensor in state.items() if ".layer3.1." not in name}
    with pytest.raises(CheckpointError, match=r"has \[2, 2, 1, 2\] blocks per stage of 2 convolutions"):
        portrait(read_checkpoint(save(state, tmp_path / "odd.pth")))


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    state = state_of(build(spec("r18")), TORCHVISION)
    del state["roi_heads.box_head.fc6.weight"]
    state["roi_heads.box_head.fc6.weight"] = torch.tensor(1.0)
    with pytest.raises(CheckpointError, match=r"roi_heads.box_head.fc6.weight is missing; save the whole"):
        portrait(read_checkpoint(save(state, tmp_path / "odd.pth")))
