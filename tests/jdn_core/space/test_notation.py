from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.evaluation.complexity import complexity
from jdn_core.space.actions import AddLayer, Rearrange, apply, legal
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.chance import pick
from jdn_core.space.families import DEPTHS, Family, family
from jdn_core.space.notation import format_backbone, parse_backbone

FRAMES = [Resolution(1333, 800), Resolution(1080, 720), Resolution(800, 600), Resolution(512, 512)]
CLASSES = tuple((number, str(number)) for number in range(80))

# Appendix B as it is printed, brackets lost and all.
R18 = (
    "R18. Student: [(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)"
    "-(512, 512)"
    r"; Input size: 1080×7201080\times 720."
)
R50 = (
    "R50. Student: (58, 59, 205)-(60, 64, 205)-(63, 62, 205)], [(127, 128, 314)-(109, 122, 314)"
    "-(127, 123, 314)-(125, 124, 314)], [(256, 255, 591)-(243, 245, 591)-(237, 247, 591)"
    "-(243, 246, 591)-(252, 244, 591)-(252, 254, 591)], [(509, 507, 1856)-(509, 506, 1856)"
    "-(508, 507, 1856)]"
    r"; Input size: 1080×7201080\times 720."
)
R101 = (
    "R101. Student: [(49, 62, 202)-(35, 33, 202)-(56, 62, 202)], [(123, 128, 300)-(57, 90, 300)"
    "-(117, 113, 300)-(124, 117, 300)], [(255, 254, 321)-(65, 127, 321)-(32, 47, 321)"
    "-(32, 63, 321)-(120, 161, 321)-(132, 181, 321)-(162, 232, 321)-(175, 241, 321)"
    "-(143, 237, 321)-(199, 246, 321)-(210, 238, 321)-(201, 225, 321)-(210, 215, 321)"
    "-(211, 222, 321)-(201, 208, 321)-(198, 206, 321)-(220, 213, 321)-(226, 221, 321)"
    "-(234, 221, 321)-(237, 222, 321)], [(249, 229, 321)-(245, 231, 321)-(511, 478, 2031)"
    "-(507, 503, 2031)-(491, 477, 2031)]"
    r"; Input size: 1080×7201080\times 720."
)
X101 = (
    "X101. Student: [(128, 128, 256)-(112, 112, 256)-(124, 124, 256)], [(256, 256, 512)"
    "-(256, 256, 512)-(256, 256, 512)-(256, 256, 512)], [(512, 512, 1024)-(448, 448, 1024)"
    "-(480, 480, 1024)-(496, 496, 1024)-(512, 512, 1024)-(464, 464, 1024)-(416, 416, 1024)"
    "-(416, 416, 1024)-(416, 416, 1024)-(416, 416, 1024)-(432, 432, 1024)-(496, 496, 1024)"
    "-(400, 400, 1024)-(400, 400, 1024)-(464, 464, 1024)-(464, 464, 1024)-(432, 432, 1024)"
    "-(352, 352, 1024)-(400, 400, 1024)-(384, 384, 1024)-(272, 272, 1024)-(384, 384, 1024)"
    "-(384, 384, 1024)], [(384, 384, 1024)-(352, 352, 1024)-(1024, 1024, 2048)-(864, 864, 2048)"
    "-(384, 384, 2048)]"
    r"; Input size: 1333×8001333\times 800."
)
PRINTED = [R18, R50, R101, X101]


@pytest.mark.parametrize(
    ("text", "depths", "backbone", "whole", "params"),
    [
        (R18, (1, 2, 2, 2), None, [None, 117.1, None, None], [None, 28.61]),
        (R50, (3, 4, 6, 3), 68.5, [194.0, 145.3, 95.1, 58.3], [19.39, 37.41]),
        (R101, (3, 4, 20, 5), 79.9, [205.0, 153.4, 100.2, 61.0], [24.05, 42.04]),
        (X101, (3, 4, 23, 5), 149.0, [276.7, 205.6, 132.5, 78.5], [37.03, 55.27]),
    ],
)
def test_the_papers_students_cost_what_it_implies(
    text: str,
    depths: tuple[int, ...],
    backbone: float | None,
    whole: list[float | None],
    params: list[float | None],
) -> None:
    spec = DetectorSpec(parse_backbone(text), CLASSES)
    costs = [complexity(spec, frame) for frame in FRAMES]
    found = [costs[0].backbone_macs / 1e9, *(cost.macs / 1e9 for cost in costs)]
    assert spec.backbone.depths == depths
    for value, expected in zip(found, [backbone, *whole], strict=True):
        assert expected is None or value == pytest.approx(expected, abs=0.1)
    for value, expected in zip([costs[0].backbone_params, costs[0].params], params, strict=True):
        assert expected is None or value / 1e6 == pytest.approx(expected, abs=0.01)


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
    rng, spec = Random(seed), family(name)
    for _ in range(6):
        moves = [action for action in legal(spec, shares=()) if isinstance(action, AddLayer | Rearrange)]
        spec = apply(spec, pick(rng, moves))
    assert parse_backbone(format_backbone(spec)) == spec


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
