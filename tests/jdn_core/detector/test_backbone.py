from __future__ import annotations

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from jdn_core.detector.backbone import Backbone, Block
from jdn_core.space.architecture import BackboneSpec
from jdn_core.space.families import Family, family
from tests.jdn_core.tiny import tiny_spec


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("r18", lambda: ResNet(BasicBlock, [2, 2, 2, 2])),
        ("r50", lambda: ResNet(Bottleneck, [3, 4, 6, 3])),
        ("x101", lambda: ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)),
    ],
)
def test_computes_what_torchvisions_resnet_computes(name: Family, reference: type[ResNet]) -> None:
    resnet = reference().eval()
    backbone = Backbone(family(name)).eval()
    state = {_our_name(key): value for key, value in resnet.state_dict().items() if not key.startswith("fc.")}
    backbone.load_state_dict(state)
    x = torch.rand(1, 3, 65, 70)
    trunk = nn.Sequential(*list(resnet.children())[:-2])
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)["3"], trunk(x))


def test_computes_a_caffe_style_resnet_whose_stride_is_in_the_1x1() -> None:
    resnet = ResNet(Bottleneck, [2, 2, 2, 2]).eval()
    for stage in (resnet.layer2, resnet.layer3, resnet.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    spec = BackboneSpec(64, tuple(blocks[:2] for blocks in family("r50").stages))
    caffe = tuple(tuple(replace(block, stride_in="1x1") for block in blocks) for blocks in spec.stages)
    backbone = Backbone(replace(spec, stages=caffe)).eval()
    state = {_our_name(key): value for key, value in resnet.state_dict().items() if not key.startswith("fc.")}
    backbone.load_state_dict(state)
    x = torch.rand(1, 3, 65, 70)
    trunk = nn.Sequential(*list(resnet.children())[:-2])
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)["3"], trunk(x))


def _our_name(name: str) -> str:
    name = re.sub(r"^(conv1|bn1)", lambda match: f"stem.{match[1][:-1]}", name)
    name = re.sub(r"^layer(\d)", lambda match: f"stages.{int(match[1]) - 1}", name)
    return name.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn")


def test_every_level_is_half_of_the_one_before_rounded_up() -> None:
    backbone = Backbone(tiny_spec().backbone)
    levels = backbone(torch.rand(1, 3, 37, 101))
    assert [tuple(level.shape[1:]) for level in levels.values()] == [
        (8, 10, 26),
        (16, 5, 13),
        (32, 3, 7),
        (64, 2, 4),
    ]


def test_every_bn_is_trained() -> None:
    backbone = Backbone(tiny_spec("r50").backbone)
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training and norm.weight.requires_grad and (norm.weight == 1).all() for norm in norms)


def test_recomputed_activations_change_neither_gradients_nor_statistics() -> None:
    kept = Backbone(tiny_spec("r50").backbone).train()
    again = copy.deepcopy(kept)
    for block in again.modules():
        if isinstance(block, Block):
            block.recompute = True
    x = torch.rand(2, 3, 64, 96)
    for backbone in (kept, again):
        for _ in range(2):
            torch.stack([level.square().mean() for level in backbone(x).values()]).sum().backward()
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in kept.state_dict().items())
    gradients = dict(again.named_parameters())
    assert all(torch.equal(p.grad, gradients[name].grad) for name, p in kept.named_parameters())


def test_recomputing_keeps_less(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Backbone(tiny_spec("r50").backbone).train()
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    def bytes_kept() -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            backbone(torch.rand(2, 3, 64, 96))
        return sum(kept)

    everything = bytes_kept()
    monkeypatch.setattr(Block, "recompute", True)
    assert bytes_kept() < everything / 2
