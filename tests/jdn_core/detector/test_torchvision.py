"""torchvision's own Faster R-CNN, once through a file of ours, on real photos.

Both get the same resized photos: torchvision scales the shorter side with its own interpolation, we fit
photos into a frame, so only what comes after the resizing is compared. Random weights with statistics of the
photos stand in for trained ones, which a test cannot download.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.ops import FrozenBatchNorm2d

from jdn_core.data.coco.dataset import load, read_image
from jdn_core.data.layouts import find_split
from jdn_core.data.transforms import prepare
from jdn_core.detector.build import Detector, build
from jdn_core.detector.checkpoint_file import read_checkpoint
from jdn_core.detector.pretrained import adapt, load_weights
from jdn_core.settings.detector import CheckpointSettings
from jdn_core.space.architecture import DetectorSpec, RegionSpec, Resolution
from jdn_core.space.families import family
from tests.jdn_core.detector.foreign import save

pytestmark = pytest.mark.slow

FRAME = Resolution(256, 192)
LABELS = tuple((number, f"class {number}") for number in range(1, 91))
Detections = dict[str, Tensor]


@pytest.fixture(scope="module")
def photos(jdn_data: Path) -> list[Tensor]:
    """Twenty photos in 0..1, [3, h, w]."""
    images = load(*find_split(jdn_data / "coco_mini", "val"), max_images=20).images
    return [prepare(read_image(image), image.boxes, resolution=FRAME, flip=False)[0] for image in images]


@pytest.fixture(scope="module")
def original(photos: list[Tensor]) -> FasterRCNN:
    """Random weights under frozen BN whose statistics fit the photos roughly, to keep signals in range.

    The last BN of a block is weak, as training makes it; else random networks amplify what rounding differs.
    """
    torch.manual_seed(0)
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, box_score_thresh=0.0)
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, norm in norms.items():
        nn.init.uniform_(norm.weight, *((0.1, 0.4) if name.endswith("bn3") else (0.5, 1.5)))
        nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = None  # the plain average over the photos
    model.train()
    with torch.no_grad():
        model.backbone(torch.stack([photo[:, :128, :128] for photo in photos]) * 4 - 2)
    for norm in norms.values():
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
    _spread(model)
    _freeze(model)
    return model.eval()


def test_detections_are_those_of_the_original(
    original: FasterRCNN, photos: list[Tensor], tmp_path: Path
) -> None:
    ours = _through(save(original.state_dict(), tmp_path / "fasterrcnn.pth"))
    matched = found = 0
    spread = []
    for photo in photos:
        theirs, mine = _theirs(original, photo), _mine(ours, photo)
        matched, found = matched + _matches(theirs, mine), found + len(theirs["labels"])
        spread.append(theirs["scores"].max() - theirs["scores"].min())
    assert found == 2000
    assert matched >= 0.99 * found
    assert torch.stack(spread).median() > 0.05  # a network that tells nothing apart has none


def test_features_are_those_of_the_original(
    original: FasterRCNN, photos: list[Tensor], tmp_path: Path
) -> None:
    ours = _through(save(original.state_dict(), tmp_path / "fasterrcnn.safetensors"))
    batch, _ = original.transform([photos[0][:, :192, :256]])
    with torch.no_grad():
        body = original.backbone.body(batch.tensors)
        wanted = [*body.values(), *original.backbone.fpn(body).values()]
        levels = ours.backbone(batch.tensors)
        found = [*levels.values(), *ours.neck(OrderedDict(levels)).values()]
    assert len(found) == len(wanted) == 9
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm()
        assert (mine - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@torch.no_grad()
def _spread(model: FasterRCNN) -> None:
    """Heads whose scores and boxes differ from RoI to RoI, as those of a trained detector do."""
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.1)
    nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.02)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.22)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.bias, std=0.5)
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.05)


def _freeze(model: FasterRCNN) -> None:
    """Every BN becomes torchvision's frozen one, with the same numbers."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(module.num_features)
            frozen.load_state_dict(module.state_dict())
            model.set_submodule(name, frozen)


def _through(path: Path) -> Detector:
    """A fresh detector of ours that the file was loaded into."""
    spec = DetectorSpec(family("r50"), LABELS, region=RegionSpec(score_threshold=0.0))
    checkpoint = read_checkpoint(path)
    torch.manual_seed(1)
    detector = build(adapt(spec, checkpoint.conventions))
    load_weights(detector, checkpoint, checkpoint.conventions, CheckpointSettings(head="keep"))
    return detector.eval()


@torch.no_grad()
def _theirs(model: FasterRCNN, photo: Tensor) -> Detections:
    height, width = photo.shape[-2:]
    model.transform.min_size, model.transform.max_size = (min(height, width),), max(height, width)
    (found,) = model([photo])
    return found


def _mine(detector: Detector, photo: Tensor) -> Detections:
    """With the padding that torchvision gives one photo."""
    height, width = photo.shape[-2:]
    padded = nn.functional.pad(photo, (0, -width % 32, 0, -height % 32))
    return detector.detect(padded[None], [(height, width)])[0]


def _matches(theirs: Detections, mine: Detections) -> int:
    """How many of theirs have one of ours of the same label, within 0.01 px and 1e-4 in score."""
    near = (theirs["boxes"][:, None] - mine["boxes"]).abs().amax(dim=-1) <= 0.01
    close = (theirs["scores"][:, None] - mine["scores"]).abs() <= 1e-4
    same = theirs["labels"][:, None] == mine["labels"]
    return int((near & close & same).any(dim=1).sum())
