"""Super-networks that begin as a base: what they compute, what learns, and which bases they can hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jdn_core.detector.build import Detector
from jdn_core.errors import SettingsError
from jdn_core.pool.extraction import extract
from jdn_core.pool.from_base import grow
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.families import KINDS, Family, family
from jdn_core.space.teachers import SubnetSpace, SubnetSpec
from tests.jdn_core.tiny import SIZES, assert_near, grown, images, targets, tiny_spec

FAMILIES = pytest.mark.parametrize("name", ["r18", "r50"])


def space_around(base: Detector, name: Family) -> SubnetSpace:
    depths = tuple((1, depth + 1) for depth in base.spec.backbone.depths)
    sizes = {"width": 1 / 8, "neck": base.spec.neck, "head": base.spec.head}
    return SubnetSpace(depths, (1.0, 1.5), blocks=KINDS[name], **sizes)


@pytest.fixture
def base(name: Family) -> Detector:
    return grown(tiny_spec(name))


@pytest.fixture
def net(base: Detector, name: Family) -> SuperNet:
    torch.manual_seed(0)
    return grow(base, space_around(base, name)).eval()


@FAMILIES
def test_its_features_are_those_of_the_base(base: Detector, net: SuperNet) -> None:
    found, channels = net.features(images(), SIZES), base.spec.neck
    for level, expected in base.features(images(), SIZES).items():
        assert_near(found[level][:, :channels], expected)


@FAMILIES
def test_its_first_training_step_has_the_losses_of_the_base(base: Detector, net: SuperNet) -> None:
    losses = []
    for detector in (base.train(), net.train()):
        torch.manual_seed(1)
        losses.append(detector.training_step(images(), SIZES, targets()).losses)
    assert {name: value.item() for name, value in losses[1].items()} == pytest.approx(
        {name: value.item() for name, value in losses[0].items()}, rel=1e-5
    )


@FAMILIES
def test_the_base_can_be_taken_out_again(base: Detector, net: SuperNet) -> None:
    subnet = SubnetSpec(base.spec.backbone.depths, 1, (1,) * 4, 1)
    slim = extract(net, subnet)
    assert slim.spec == base.spec
    assert all(torch.equal(value, base.state_dict()[name]) for name, value in slim.state_dict().items())


@FAMILIES
def test_what_is_new_learns_within_two_steps(base: Detector, net: SuperNet) -> None:
    """The readers of new channels learn at the first step, what makes these channels at the second."""
    optimizer = torch.optim.SGD(net.train().parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        losses = net.training_step(images(), SIZES, targets()).losses
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    old = {name: len(weight) for name, weight in base.named_parameters()}
    for name, weight in net.backbone.named_parameters(prefix="backbone"):
        assert weight.grad[old.get(name, 0) :].any(), name


@pytest.mark.parametrize("name", ["r18"])
def test_a_stem_of_basic_blocks_is_as_wide_as_the_first_stage(base: Detector, name: Family) -> None:
    space = space_around(base, name)
    assert SubnetSpec(space.largest.depths, 1, (1.5,) * 4, 1) not in space
    for _, mutant in space.mutations(space.smallest):
        assert mutant.stem == mutant.widths[0]
        space.detector_spec(mutant, base.spec)  # raises where a shortcut joins two widths


def test_a_base_of_other_blocks_is_refused() -> None:
    base = grown(tiny_spec("r18"))
    with pytest.raises(SettingsError, match=r"pool\.start: must be scratch"):
        grow(base, space_around(base, "r50"))


def test_a_base_that_is_deeper_or_wider_is_refused() -> None:
    base = grown(tiny_spec("r18"))
    space = space_around(base, "r18")
    for small in (replace(space, depths=((1, 1),) * 4), replace(space, width=1 / 16), replace(space, neck=4)):
        with pytest.raises(SettingsError, match=r"pool\.start"):
            grow(base, small)


def test_strides_in_1x1_convolutions_are_refused() -> None:
    spec = tiny_spec("r50")
    stages = tuple(
        tuple(replace(block, stride_in="1x1") for block in stage) for stage in spec.backbone.stages
    )
    base = grown(replace(spec, backbone=replace(spec.backbone, stages=stages)))
    with pytest.raises(SettingsError, match="strides are in its 3x3"):
        grow(base, space_around(base, "r50"))


def test_a_space_of_basic_blocks_holds_the_family_itself() -> None:
    space = SubnetSpace(((1, 2),) * 4, (1.0,), width=1 / 8, neck=16, head=24, blocks="basic")
    assert space.detector_spec(space.largest, tiny_spec("r18")).backbone == family("r18", width=1 / 8)
