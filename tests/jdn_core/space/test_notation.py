from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.space.actions import AddLayer, Rearrange, apply, legal
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.chance import pick
from jdn_core.space.families import DEPTHS, Family, family
from jdn_core.space.notation import format_backbone, parse_backbone
from tests.jdn_core.golden import R18, R50, R101, X101

PRINTED = [R18, R50, R101, X101]


@pytest.mark.parametrize(
    ("text", "depths"),
    [(R18, (1, 2, 2, 2)), (R50, (3, 4, 6, 3)), (R101, (3, 4, 20, 5)), (X101, (3, 4, 23, 5))],
)
def test_the_papers_students_are_read_as_printed(text: str, depths: tuple[int, ...]) -> None:
    assert parse_backbone(text).depths == depths


@pytest.mark.parametrize("text", PRINTED)
def test_what_was_read_is_written_in_the_regular_form_and_read_again(text: str) -> None:
    spec = parse_backbone(text)
    regular = format_backbone(spec)
    assert regular.startswith("[(")
    assert regular.endswith(")]")
    assert regular.count("[") == regular.count("]") == 4
    assert parse_backbone(regular) == spec


def test_the_moved_blocks_of_r101_were_born_in_stage_three() -> None:
    stage = parse_backbone(R101).stages[3]
    assert [block.born for block in stage] == [2, 2, 3, 3, 3]
    assert [block.stride for block in stage] == [2, 1, 1, 1, 1]
    assert [block.projection for block in stage] == [True, False, True, False, False]


def test_the_moved_blocks_of_x101_keep_their_group_widths() -> None:
    stage = parse_backbone(X101).stages[3]
    assert [block.inner // block.groups for block in stage] == [16, 16, 32, 32, 32]
    assert {block.groups for _, _, block in parse_backbone(R101).blocks()} == {1}


@pytest.mark.parametrize("name", DEPTHS)
def test_a_full_family_is_recognised_from_its_notation(name: Family) -> None:
    assert parse_backbone(format_backbone(family(name))) == family(name)


@pytest.mark.parametrize("name", ["r18", "r50", "x101"])
def test_a_slim_family_needs_its_stem_and_its_kind(name: Family) -> None:
    spec = family(name, width=0.25)
    assert parse_backbone(format_backbone(spec), stem=16, resnext=name == "x101") == spec


@given(st.sampled_from(["r18", "r50", "r101", "x101"]), st.integers(0, 10**9))
def test_layers_added_and_moved_are_rebuilt_from_the_notation(name: Family, seed: int) -> None:
    rng, spec = Random(seed), DetectorSpec(family(name), ((1, "a"),))
    for _ in range(6):
        moves = [a for a in legal(spec, prune_shares=()) if isinstance(a, AddLayer | Rearrange)]
        spec = apply(spec, pick(rng, moves))
    assert parse_backbone(format_backbone(spec.backbone)) == spec.backbone


def test_neighbouring_stages_of_one_width_are_taken_as_they_stand() -> None:
    spec = parse_backbone("[(8, 8)], [(8, 8)], [(8, 8)-(8, 8)], [(16, 16)]", stem=8)
    assert [block.born for _, _, block in spec.blocks()] == [0, 1, 2, 2, 3]


def test_a_basic_first_stage_of_another_width_than_the_stem_begins_with_a_projection() -> None:
    spec = parse_backbone("[(8, 8)-(8, 8)], [(16, 16)], [(24, 24)], [(32, 32)]", stem=16)
    assert [block.projection for block in spec.stages[0]] == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "notation must look like"),
        ("r50", "notation must look like"),
        ("[(64)], [(64, 64)]", "notation must look like"),
        ("[(8, 8)], [(16, 16)], [(24, 24)], [(32, 32)] and more", "notation must look like"),
        ("x" * 200, r"got 'x{80}\.\.\.'"),
        ("[(8, 8)] [(8, 8)]", r"blocks are joined by '-' .* got '\] \[' after \(8, 8\)"),
        ("[(8, 8)], [(8, 8)]", "four stages of one kind of block, got 2 with 2 widths"),
        ("[(8, 8)], [(8, 8)], [(8, 8, 8)], [(8, 8)]", "got 4 with 2 and 3 widths"),
        (
            "[(8, 8)], [(9, 9)], [(10, 10)-(11, 11)], [(12, 12)]",
            "four output widths, got 5: 8, 9, 10, 11, 12",
        ),
        ("[(0, 8)], [(9, 9)], [(10, 10)], [(12, 12)]", "channels must be >= 1"),
    ],
)
def test_what_is_no_notation_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_backbone(text)


@pytest.mark.parametrize("text", [R18, R50])
def test_a_backbone_without_whole_groups_is_no_resnext(text: str) -> None:
    with pytest.raises(ValueError, match="a ResNeXt block born in stage 1 has groups of 4"):
        parse_backbone(text, resnext=True)
