from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from torch import nn

from jdn_core.detector.build import Detector
from jdn_core.morphism.evolve import evolve
from jdn_core.morphism.importance import block_norms, widths
from jdn_core.morphism.inheritance import blocks, streams
from jdn_core.morphism.pruning import (
    ChannelCut,
    choose_block,
    choose_channels,
    cut_block,
    cut_channels,
    cut_spec,
)
from jdn_core.space.actions import Action, AddLayer, PruneChannels, Rearrange, reason_against
from jdn_core.space.families import Family
from tests.jdn_core.tiny import SIZES, assert_near, grown, images, tiny_spec

TWICE = (Rearrange(2, "last"), Rearrange(2, "last"))  # leaves two widths in stage 4
STUDENTS = pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("r18", ()),
        ("r34", (Rearrange(0, "last"), AddLayer(1))),
        ("r34", (Rearrange(1, "first"), PruneChannels(0.1))),
        ("r50", ()),
        ("r50", (*TWICE, AddLayer(3))),
        ("r50", (Rearrange(1, "first"), PruneChannels(0.1), Rearrange(2, "last"))),
        ("x101", ()),
        ("x101", (*TWICE, PruneChannels(0.2))),
    ],
)


def student(name: Family, moves: tuple[Action, ...]) -> Detector:
    detector = grown(tiny_spec(name))
    for action in moves:
        detector = evolve(detector, action)
    return detector


@torch.no_grad()
def mask(detector: Detector, cut: ChannelCut) -> None:
    """Silences the channels of a cut where they are, by zero BN weights and biases."""
    numbers = streams(detector.spec.backbone)
    for index, block in enumerate(blocks(detector)):
        norms = [bn for _, bn in block.layers()]
        for conv, bn in enumerate(norms[:-1]):
            kept = cut.kept[index, 0 if block.spec.groups > 1 else conv]
            _silence(bn, kept.repeat_interleave(bn.num_features // len(kept)))
        if numbers[index] in cut.kept:
            _silence(norms[-1], cut.kept[numbers[index]])
            if block.shortcut is not None:
                _silence(block.shortcut.bn, cut.kept[numbers[index]])


def _silence(bn: nn.BatchNorm2d, kept: torch.Tensor) -> None:
    bn.weight[~kept] = 0
    bn.bias[~kept] = 0


@STUDENTS
@torch.no_grad()
def test_a_pruned_detector_equals_the_masked_one(name: Family, moves: tuple[Action, ...]) -> None:
    detector = student(name, moves)
    cut = choose_channels(detector, 0.3)
    pruned = cut_channels(detector, cut)
    mask(detector, cut)
    normal = detector.normalise(images(), SIZES)
    numbers = streams(detector.spec.backbone)
    ends = [numbers[depth - 1] for depth in accumulate(detector.spec.backbone.depths)]
    whole, part = detector.backbone(normal), pruned.backbone(normal)
    for level, stream in enumerate(ends):
        kept = cut.kept.get(stream, torch.ones(whole[str(level)].shape[1], dtype=torch.bool))
        assert_near(part[str(level)], whole[str(level)][:, kept])
    for before, after in zip(detector.neck(whole).values(), pruned.neck(part).values(), strict=True):
        assert_near(after, before)


@STUDENTS
@torch.no_grad()
def test_channels_that_say_nothing_go_first_and_leave_the_output(
    name: Family, moves: tuple[Action, ...]
) -> None:
    detector = student(name, moves)
    silent = choose_channels(detector, 0.1)
    mask(detector, silent)
    cut = choose_channels(detector, 0.1)
    assert all(torch.equal(cut.kept[site], silent.kept[site]) for site in cut.kept)
    pruned = cut_channels(detector, cut)
    for before, after in zip(
        detector.features(images(), SIZES).values(), pruned.features(images(), SIZES).values(), strict=True
    ):
        assert_near(after, before)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.29])
@pytest.mark.parametrize("name", ["r18", "r50"])
def test_the_share_is_met_to_the_channel(name: Family, share: float) -> None:
    detector = grown(tiny_spec(name, width=1 / 2))
    cut = choose_channels(detector, share)
    removed = sum(int((~kept).sum()) for kept in cut.kept.values())
    assert (cut.removed, cut.prunable) == (removed, sum(map(len, cut.kept.values())))
    assert cut.removed == int(share * cut.prunable + 1e-9)
    assert cut.share == cut.removed / cut.prunable <= share


def test_the_least_of_the_whole_backbone_go() -> None:
    detector = grown(tiny_spec("r50", width=1 / 2))
    cut = choose_channels(detector, 0.05)
    scores = widths(detector)
    gone = torch.cat([scores[site].scores[~kept] for site, kept in cut.kept.items()])
    stayed = torch.cat([scores[site].scores[kept] for site, kept in cut.kept.items()])
    assert gone.max() <= stayed.min()


def test_no_width_dies_under_the_largest_share() -> None:
    detector = grown(tiny_spec("r50"))
    spec = cut_spec(detector.spec.backbone, choose_channels(detector, 0.99))
    for before, after in zip(detector.spec.backbone.blocks(), spec.blocks(), strict=True):
        kept = [
            left / whole >= 0.1 for left, whole in zip(after[2].channels, before[2].channels, strict=True)
        ]
        assert all(kept)


def test_a_width_of_zeros_does_not_die() -> None:
    detector = grown(tiny_spec("r18"))
    bn = blocks(detector)[3].layers()[0][1]
    nn.init.zeros_(bn.weight)
    cut = choose_channels(detector, 0.2)
    assert int(cut.kept[3, 0].sum()) == 2  # a tenth of 16, rounded up


@pytest.mark.parametrize("name", ["r18", "r34"])
def test_basic_blocks_keep_the_stem_and_the_first_outer_width(name: Family) -> None:
    detector = grown(tiny_spec(name))
    spec = cut_spec(detector.spec.backbone, choose_channels(detector, 0.5))
    assert spec.stem == spec.outs[0] == detector.spec.backbone.stem
    assert spec.outs[1:] < detector.spec.backbone.outs[1:]


def test_blocks_of_one_birth_keep_one_output_width() -> None:
    detector = grown(tiny_spec("r50"))
    spec = cut_spec(detector.spec.backbone, choose_channels(detector, 0.4))
    by_birth = [{block.out for _, _, block in spec.blocks() if block.born == stage} for stage in range(4)]
    assert all(len(outs) == 1 for outs in by_birth)


def test_resnext_loses_whole_groups_and_no_outer_width() -> None:
    detector = grown(tiny_spec("x101"))
    before = detector.spec.backbone
    spec = cut_spec(before, choose_channels(detector, 0.4))
    assert spec.outs == before.outs
    for (_, _, old), (_, _, new) in zip(before.blocks(), spec.blocks(), strict=True):
        assert new.channels[0] == new.channels[1] == new.groups * (old.inner // old.groups)
        assert 2 <= new.groups <= old.groups
    assert sum(b.groups for _, _, b in spec.blocks()) < sum(b.groups for _, _, b in before.blocks())


@pytest.mark.parametrize("name", ["r18", "r50", "x101"])
def test_pruning_goes_on_until_there_is_a_reason_against_it(name: Family) -> None:
    spec = tiny_spec(name)
    while reason_against(spec, PruneChannels(0.9)) is None:
        cut = choose_channels(grown(spec), 0.9)
        assert cut.removed > 0
        spec = replace(spec, backbone=cut_spec(spec.backbone, cut))
    with pytest.raises(ValueError, match=r"^prune_channels:0\.9: no layer has channels to spare$"):
        choose_channels(grown(spec), 0.9)
    left = {block.groups if name == "x101" else block.channels[0] for _, _, block in spec.backbone.blocks()}
    assert left == {2 if name == "x101" else 1}


def test_one_channel_goes_at_least() -> None:
    assert choose_channels(grown(tiny_spec()), 1e-6).removed == 1


def test_the_block_of_least_mean_weight_goes() -> None:
    detector = grown(tiny_spec("r50"))
    with torch.no_grad():
        for parameter in detector.backbone.get_submodule("stages.2.1").parameters():
            parameter.mul_(0.01)
    assert choose_block(detector) == (2, 1)
    assert min(block_norms(detector)) == block_norms(detector)[3 + 3 + 1]
    child = cut_block(detector, (2, 1))
    assert child.spec.backbone.depths == (3, 3, 2, 3)
    assert torch.equal(
        child.get_parameter("backbone.stages.2.1.conv1.weight"),
        detector.get_parameter("backbone.stages.2.2.conv1.weight"),
    )


@torch.no_grad()
def test_a_block_that_adds_nothing_can_go_unnoticed() -> None:
    detector = grown(tiny_spec("r50"))
    bn = blocks(detector)[4].layers()[-1][1]
    bn.weight.zero_()
    bn.bias.zero_()
    child = cut_block(detector, (1, 1))
    assert torch.equal(child.features(images())["0"], detector.features(images())["0"])


def test_the_parent_stays_as_it_was() -> None:
    detector = grown(tiny_spec("r50"))
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    cut_channels(detector, choose_channels(detector, 0.3))
    cut_block(detector, choose_block(detector))
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
