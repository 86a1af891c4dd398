"""Narrowing keeps the channels through which most passes, and what they compute."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jdn_core.detector.build import Detector
from jdn_core.detector.trunk import Trunk
from jdn_core.morphism.evolve import evolve, evolve_trunk
from jdn_core.morphism.narrowing import choose_heads
from jdn_core.space.actions import NarrowHeads
from jdn_core.space.families import Family
from tests.jdn_core.tiny import SIZES, assert_near, grown, images, tiny_spec

QUARTER = NarrowHeads(0.25)  # of 16 and 24 channels


def silence(detector: Detector, width: str, channels: list[int]) -> None:
    """Makes channels of a width write and read nothing."""
    heads = detector.roi.box_head
    rpn = detector.rpn.head.conv[0][0]
    levels = [block[0] for block in detector.neck.layer_blocks]
    with torch.no_grad():
        match width:
            case "laterals":
                for block in detector.neck.inner_blocks:
                    block[0].weight[channels] = 0
                    block[0].bias[channels] = 0
            case "levels":
                for conv in levels:
                    conv.weight[channels] = 0
                    conv.bias[channels] = 0
            case "rpn":
                rpn.weight[channels] = 0
                rpn.bias[channels] = 0
            case _:
                layer = getattr(heads, width)
                layer.weight[channels] = 0
                layer.bias[channels] = 0


@pytest.mark.parametrize("name", ["r18", "r50"])
def test_channels_that_do_nothing_go_and_the_detections_stay(name: Family) -> None:
    detector = grown(tiny_spec(name))
    gone = {
        "laterals": [0, 3, 7, 9],
        "levels": [1, 2, 14, 15],
        "rpn": [4, 5, 6, 12],
        "fc6": [0, 1, 2, 3, 8, 23],
    }
    gone["fc7"] = [5, 6, 7, 20, 21, 22]
    for width, channels in gone.items():
        silence(detector, width, channels)
    child = evolve(detector, QUARTER)
    assert (child.spec.neck, child.spec.head) == (12, 18)
    kept = choose_heads(detector, QUARTER)
    sizes = {"laterals": 16, "levels": 16, "rpn": 16, "fc6": 24, "fc7": 24}
    assert {w: sorted({*range(sizes[w])} - {*k.tolist()}) for w, k in kept.items()} == gone
    for one, other in zip(detector.detect(images(), SIZES), child.detect(images(), SIZES), strict=True):
        assert one["labels"].tolist() == other["labels"].tolist()
        assert_near(other["boxes"], one["boxes"])
        assert_near(other["scores"], one["scores"])


def test_the_least_of_what_passes_goes() -> None:
    detector = grown(tiny_spec())
    with torch.no_grad():
        for number in range(24):
            detector.roi.box_head.fc7.weight[number].fill_(1 + number)
        detector.roi.box_predictor.cls_score.weight.fill_(1.0)
        detector.roi.box_predictor.bbox_pred.weight.fill_(0.0)
        detector.roi.box_predictor.cls_score.weight[:, 23] = 0.001  # written by most, read by next to none
    assert choose_heads(detector, QUARTER)["fc7"].tolist() == list(range(5, 23))


def test_the_backbone_is_inherited_and_the_parent_left_as_it_is() -> None:
    detector = grown(tiny_spec("r50")).train()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    child = evolve(detector, QUARTER)
    assert child.training
    assert child.spec == replace(detector.spec, neck=12, head=18)
    state = child.backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in detector.backbone.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_the_momentum_of_what_stays_is_kept() -> None:
    detector = grown(tiny_spec())
    momentum = {name: parameter.detach().clone() for name, parameter in detector.named_parameters()}
    child = evolve_trunk(Trunk(detector, momentum), QUARTER)
    # Momentum that equals the weights is cut as they are.
    assert all(torch.equal(child.momentum[name], p) for name, p in child.detector.named_parameters())
