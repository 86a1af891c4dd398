from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jdn_core.detector.build import Detector
from jdn_core.morphism.evolve import evolve
from jdn_core.morphism.importance import widths
from jdn_core.morphism.inheritance import blocks, laterals, streams
from jdn_core.space.actions import AddLayer, PruneChannels, Rearrange
from jdn_core.space.families import Family
from tests.jdn_core.tiny import SIZES, grown, images, tiny_spec


def _branches(detector: Detector) -> list[dict[str, Tensor]]:
    """What every block holds but its shortcut, in the order of the data."""
    return [
        {name: value for name, value in block.state_dict().items() if not name.startswith("shortcut")}
        for block in blocks(detector)
    ]


@pytest.mark.parametrize("name", ["r18", "r50", "x101"])
@pytest.mark.parametrize("action", [Rearrange(1, "first"), Rearrange(1, "last")])
def test_every_block_keeps_its_weights(name: Family, action: Rearrange) -> None:
    detector = grown(tiny_spec(name))
    child = evolve(detector, action)
    assert child.spec.backbone.depths != detector.spec.backbone.depths
    for before, after in zip(_branches(detector), _branches(child), strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_projection_is_inherited_and_a_new_one_subsamples() -> None:
    detector = grown(tiny_spec("r50"))
    child = evolve(detector, Rearrange(1, "first"))
    moved = child.backbone.get_submodule("stages.0.3.shortcut")
    former = detector.backbone.get_submodule("stages.1.0.shortcut")
    for name, value in former.state_dict().items():
        assert torch.equal(moved.state_dict()[name], value)
    x = torch.rand(1, 64, 7, 9)
    strided = child.backbone.get_submodule("stages.1.0.shortcut")
    torch.testing.assert_close(strided(x), x[:, :, ::2, ::2], atol=1e-5, rtol=1e-5)


def test_laterals_follow_the_stream_that_they_read() -> None:
    detector = grown(tiny_spec("r50"))
    child = evolve(detector, Rearrange(2, "first"))
    before, after = laterals(detector), laterals(child)
    for level, source in enumerate([0, 2, 2, 3]):
        assert torch.equal(after[level].weight, before[source].weight)
        assert after[level].bias is not None


def test_a_lateral_whose_stream_was_not_read_starts_at_zero() -> None:
    detector = grown(tiny_spec("r18"))
    moved = evolve(detector, Rearrange(2, "first"))
    assert streams(moved.spec.backbone) == streams(detector.spec.backbone)
    back = evolve(moved, Rearrange(1, "last"))
    assert not laterals(back)[1].weight.any()
    assert torch.equal(laterals(back)[2].weight, laterals(detector)[2].weight)


@torch.no_grad()
def test_levels_before_the_move_are_left_alone() -> None:
    detector = grown(tiny_spec("r50"))
    before = detector.backbone(images())
    after = evolve(detector, Rearrange(3, "first")).backbone(images())
    assert torch.equal(after["0"], before["0"])
    assert torch.equal(after["1"], before["1"])


def test_repeated_moves_leave_two_widths_in_a_stage_that_trains() -> None:
    detector = grown(tiny_spec("r50"))
    for action in (Rearrange(2, "last"), Rearrange(2, "last"), PruneChannels(0.2), AddLayer(3)):
        detector = evolve(detector, action)
    widths = [block.out for block in detector.spec.backbone.stages[3]]
    assert len(set(widths[:2])) == len(set(widths[2:])) == 1
    assert widths[0] < widths[2]
    projections = [block.projection for block in detector.spec.backbone.stages[3]]
    assert projections == [True, False, True, False, False, False]
    assert detector.features(images(), SIZES)["3"].shape == (2, 16, 2, 3)


def test_the_stream_of_moved_blocks_is_ruled_by_the_projection_that_opened_it() -> None:
    detector = grown(tiny_spec("r50"))
    moved = evolve(detector, Rearrange(2, "last"))
    ruler = moved.backbone.get_parameter("stages.2.0.shortcut.bn.weight")
    found = widths(moved)
    assert [site for site in found if isinstance(site, int)] == [0, 1, 2, 3]
    assert torch.equal(found[2].scores, ruler.detach().abs())
