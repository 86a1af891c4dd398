from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from jdn_core.detector.build import Detector, build
from jdn_core.detector.checkpoint_file import Checkpoint, read_checkpoint
from jdn_core.detector.naming import (
    CLASSIFIER,
    DETECTRON2,
    MMDETECTION,
    NAMINGS,
    TORCHVISION,
    Conventions,
    Naming,
)
from jdn_core.detector.pretrained import adapt, has_heads, load_weights
from jdn_core.errors import CheckpointError
from jdn_core.settings.detector import CheckpointSettings
from jdn_core.space.architecture import BackboneSpec, DetectorSpec
from jdn_core.space.families import Family, family
from tests.jdn_core.detector.foreign import save, spec_of, state_of, trained
from tests.jdn_core.tiny import SIZES, assert_near, images, tiny_spec

KEEP = CheckpointSettings(head="keep")
DETECTORS = [TORCHVISION, MMDETECTION, DETECTRON2]


def _filled(
    path: Path, spec: DetectorSpec, settings: CheckpointSettings = KEEP, **stated: object
) -> Detector:
    """A detector of a plain specification that a file was loaded into."""
    checkpoint = read_checkpoint(path)
    conventions = replace(checkpoint.conventions, **stated)
    detector = build(adapt(spec, conventions))
    load_weights(detector, checkpoint, conventions, settings)
    return detector.eval()


def _problems(state: dict[str, Tensor], path: Path, spec: DetectorSpec) -> str:
    with pytest.raises(CheckpointError) as caught:
        _filled(save(state, path), spec)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("naming", DETECTORS, ids=lambda naming: naming.title)
def test_a_detector_comes_back_under_every_librarys_names(
    naming: Naming, suffix: str, tmp_path: Path
) -> None:
    original = trained(spec_of(naming))
    path = save(state_of(original, naming), tmp_path / f"weights{suffix}")
    loaded = _filled(path, spec_of(TORCHVISION))
    assert loaded.spec == original.spec
    for found, wanted in zip(loaded.detect(images(), SIZES), original.detect(images(), SIZES), strict=True):
        assert torch.equal(found["labels"], wanted["labels"])
        torch.testing.assert_close(found["boxes"], wanted["boxes"])
        torch.testing.assert_close(found["scores"], wanted["scores"])


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("r18", lambda: ResNet(BasicBlock, [2, 2, 2, 2])),
        ("x101", lambda: ResNet(Bottleneck, [2, 2, 2, 2], groups=32, width_per_group=4)),
    ],
)
def test_backbones_of_torchvision_fill_the_backbone_alone(
    name: Family, reference: type[ResNet], tmp_path: Path
) -> None:
    resnet = _with_statistics(reference())
    spec = replace(tiny_spec(), backbone=_two_blocks(family(name)))
    torch.manual_seed(3)
    fresh = build(spec)
    torch.manual_seed(3)
    loaded = _filled(save(resnet.state_dict(), tmp_path / "resnet.pth"), spec)
    assert_near(loaded.backbone(images())["3"], _trunk(resnet)(images()))
    assert torch.equal(loaded.roi.box_head.fc6.weight, fresh.roi.box_head.fc6.weight)
    assert torch.equal(loaded.neck.inner_blocks[0][0].weight, fresh.neck.inner_blocks[0][0].weight)


def test_caffe_style_reads_bgr_pixels_and_strides_in_the_1x1(tmp_path: Path) -> None:
    resnet = _with_statistics(ResNet(Bottleneck, [2, 2, 2, 2]))
    for stage in (resnet.layer2, resnet.layer3, resnet.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    spec = replace(tiny_spec(), backbone=_two_blocks(family("r50")))
    state = {f"backbone.{name}": value for name, value in resnet.state_dict().items()}
    del state["backbone.fc.weight"], state["backbone.fc.bias"]
    mean, std = (103.53, 116.28, 123.675), (1.0, 2.0, 3.0)
    stated = {"channels": "bgr", "mean": mean, "std": std, "stride_in": "1x1"}
    loaded = _filled(save(state, tmp_path / "caffe.pth"), spec, **stated)
    pixels = images().flip(1) * 255
    with torch.no_grad():
        wanted = _trunk(resnet)((pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
        found = loaded.backbone(loaded.normalise(images()))["3"]
    assert_near(found, wanted)


def test_frozen_bn_becomes_bn_of_the_same_function_even_without_epsilon(tmp_path: Path) -> None:
    resnet = ResNet(BasicBlock, [2, 2, 2, 2], norm_layer=FrozenBatchNorm2d).eval()
    for module in resnet.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    resnet.layer2[0].conv1.weight.data[3] *= 1e-15  # a dead channel, as the published weights have
    resnet.layer2[0].bn1.running_mean[3] = 0
    resnet.layer2[0].bn1.running_var[3] = 1e-30
    spec = replace(tiny_spec(), backbone=family("r18"))
    loaded = _filled(save(resnet.state_dict(), tmp_path / "frozen.pth"), spec, bn_eps=0.0)
    with torch.no_grad():
        assert_near(loaded.backbone(images())["3"], _trunk(resnet)(images()))
    bn = loaded.backbone.stages[1][0].bn1
    assert bn.weight.requires_grad
    assert torch.equal(bn.weight, resnet.layer2[0].bn1.weight)
    assert loaded.backbone.stem.bn.num_batches_tracked == 0


def test_a_variance_of_zero_is_refused_where_nothing_is_added_to_it(tmp_path: Path) -> None:
    state = state_of(trained(spec_of(TORCHVISION)), TORCHVISION)
    state["backbone.body.bn1.running_var"][2] = 0
    path = save(state, tmp_path / "weights.pth")
    with pytest.raises(
        CheckpointError, match=r"backbone\.body\.bn1\.running_var: variances must be > 0 where"
    ):
        _filled(path, spec_of(TORCHVISION), bn_eps=0.0)


def test_older_names_of_torchvision_are_read(tmp_path: Path) -> None:
    original = trained(spec_of(TORCHVISION))
    state = state_of(original, TORCHVISION)
    for name in list(state):
        older = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        if "fpn" in older:
            older = older.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        state[f"module.{older}"] = state.pop(name)
    assert "module.backbone.fpn.inner_blocks.3.weight" in state
    loaded = _filled(save({"model": state, "epoch": 3}, tmp_path / "old.pth"), spec_of(TORCHVISION))
    wanted = original.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.state_dict().items())


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    state = state_of(trained(spec_of(DETECTRON2)), DETECTRON2)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    loaded = _filled(save(halves, tmp_path / "half.safetensors"), spec_of(TORCHVISION))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_deltas_of_another_box_coder_are_rescaled(tmp_path: Path) -> None:
    original = trained(spec_of(MMDETECTION))
    state = state_of(original, MMDETECTION)
    for leaf in ("weight", "bias"):
        deltas = state[f"roi_head.bbox_head.fc_reg.{leaf}"]
        state[f"roi_head.bbox_head.fc_reg.{leaf}"] = torch.cat([deltas[:4] / 10, deltas[4:] / 10])
    path = save(state, tmp_path / "weights.pth")
    loaded = _filled(path, spec_of(TORCHVISION), box_weights=(1.0, 1.0, 0.5, 0.5))
    mine, wanted = (d.roi.box_predictor.bbox_pred.weight[4:] for d in (loaded, original))
    torch.testing.assert_close(mine, wanted)


def test_everything_wrong_is_named_with_what_was_expected(tmp_path: Path) -> None:
    state = state_of(trained(spec_of(DETECTRON2)), DETECTRON2)
    del state["backbone.fpn_lateral3.bias"]
    state["roi_heads.other_head.deconv.weight"] = torch.zeros(1)
    state["roi_heads.box_head.fc2.weight"] = torch.zeros(24, 23)
    state["backbone.fpn_output2.weight"][0, 0, 0, 0] = torch.nan
    state["backbone.bottom_up.res2.0.conv1.norm.running_var"][0] = -1
    message = _problems(state, tmp_path / "d2.pth", spec_of(TORCHVISION))
    assert message.splitlines() == [
        "d2.pth: backbone.bottom_up.res2.0.conv1.norm.running_var: variances must be >= 0, got -1",
        "d2.pth: backbone.fpn_lateral3.bias: tensor is missing",
        "d2.pth: backbone.fpn_output2.weight: values must be finite, got 1 that are not",
        "d2.pth: roi_heads.box_head.fc2.weight: shape must be [24, 24], got [24, 23]",
        "d2.pth: roi_heads.other_head.deconv.weight: tensor is unexpected",
    ]


def test_another_family_is_told_apart_by_its_depths(tmp_path: Path) -> None:
    spec = spec_of(MMDETECTION)
    message = _problems(state_of(trained(spec), MMDETECTION), tmp_path / "r.pth", tiny_spec("r50", depth=3))
    assert message.startswith("r.pth: backbone: blocks per stage must be [3, 3, 3, 3], got [2, 2, 2, 2]")
    assert "set detector.family: r18" in message
    assert "backbone.layer1.2.conv3.weight: tensor is missing" in message


def test_deltas_that_fit_no_number_of_classes_are_refused(tmp_path: Path) -> None:
    state = state_of(trained(spec_of(TORCHVISION)), TORCHVISION)
    state["roi_heads.box_predictor.bbox_pred.weight"] = torch.zeros(8, 24)
    message = _problems(state, tmp_path / "tv.pth", spec_of(TORCHVISION))
    assert message == "tv.pth: roi_heads.box_predictor.bbox_pred.weight: shape must be [12, 24], got [8, 24]"


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.title)
def test_only_detectors_have_heads(naming: Naming) -> None:
    modules = naming.modules(tiny_spec())
    names = {modules.get("rpn.head.cls_logits", "x"): torch.zeros(1)}
    checkpoint = Checkpoint("x", naming, names, None, Conventions())
    assert has_heads(checkpoint) == (naming is not CLASSIFIER)


def _two_blocks(spec: BackboneSpec) -> BackboneSpec:
    return BackboneSpec(spec.stem, tuple(blocks[:2] for blocks in spec.stages))


def _with_statistics(resnet: ResNet) -> ResNet:
    for module in resnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return resnet.eval()


def _trunk(resnet: ResNet) -> nn.Sequential:
    return nn.Sequential(*list(resnet.children())[:-2])
