from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.evaluation.complexity import complexity
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace, SubnetSpec

PAPER = SubnetSpace()
TINY = SubnetSpace(((1, 2), (1, 1), (1, 2), (1, 1)), (1.0, 1.5), width=0.125, neck=16, head=32)
TEMPLATE = DetectorSpec(family("r18"), tuple((number, str(number)) for number in range(80)))
SUBNET = SubnetSpec((2, 3, 5, 2), 1, (1.25, 1, 1.5, 1), 1.25)


def test_the_papers_space_has_its_size() -> None:
    assert PAPER.size(4) == 769_824
    assert PAPER.size() == 192_456


def test_a_small_space_is_as_large_as_what_can_be_drawn_from_it() -> None:
    rng = Random("size")
    drawn = Counter(TINY.draw(rng) for _ in range(5000))
    assert len(drawn) == TINY.size() == 4 * 64
    assert max(drawn.values()) < 45  # 20 on average


def test_a_subnet_has_a_text() -> None:
    assert str(SUBNET) == "d2-3-5-2 w1.25-1-1.5-1 s1 n1.25"


@given(st.integers(0, 10**9))
def test_a_subnet_reads_back_from_text_and_from_json(seed: int) -> None:
    subnet = PAPER.draw(Random(seed))
    assert SubnetSpec.parse(str(subnet)) == subnet
    assert SubnetSpec.from_json(subnet.to_json()) == subnet
    assert subnet in PAPER


@pytest.mark.parametrize(
    "text",
    [
        "",
        "d2-3-5-2",
        "d2-3-5 w1-1-1-1 s1 n1",
        "w1-1-1-1 d2-3-5-2 s1 n1",
        "d2-3-5-2 w1-1-1-1 s1-2 n1",
        "d2-3-5-2 w1-1-1-x s1 n1",
    ],
)
def test_a_text_that_is_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a subnet must look like 'd2-3-5-2") as caught:
        SubnetSpec.parse(text)
    assert repr(text) in str(caught.value)


def test_one_and_one_point_zero_are_the_same_factor() -> None:
    other = SubnetSpec((2, 3, 5, 2), 1.0, (1.25, 1.0, 1.5, 1.0), 1.25)
    assert other == SUBNET
    assert repr(SUBNET.to_json()) == repr(other.to_json())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": ((2, 1), (1, 1), (1, 1), (1, 1))}, "depths of stage 1 must be 1 <= least <= most"),
        ({"depths": ((1, 1), (1, 1), (1, 1), (0, 1))}, "depths of stage 4 must be 1 <= least <= most"),
        ({"widths": ()}, "widths must be positive and rise"),
        ({"widths": (1.5, 1.0)}, "widths must be positive and rise"),
        ({"widths": (0.0, 1.0)}, "widths must be positive and rise"),
    ],
)
def test_an_impossible_space_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SubnetSpace(**arguments)


def test_the_ends_of_the_space_are_r18s_and_r101s_depths() -> None:
    assert str(PAPER.smallest) == "d2-2-2-2 w1-1-1-1 s1 n1"
    assert str(PAPER.largest) == "d3-4-23-3 w1.5-1.5-1.5-1.5 s1.5 n1.5"


def test_a_mutation_changes_one_slot_to_any_other_value() -> None:
    mutations = dict(PAPER.mutations(SUBNET))
    assert len(mutations) == 1 + 2 + 21 + 1 + 2 * 6
    assert mutations["teacher:depth:3:12"] == replace(SUBNET, depths=(2, 3, 12, 2))
    assert mutations["teacher:width:2:1.5"] == replace(SUBNET, widths=(1.25, 1.5, 1.5, 1))
    assert mutations["teacher:stem:1.25"] == replace(SUBNET, stem=1.25)
    assert mutations["teacher:neck:1"] == replace(SUBNET, neck=1)
    assert SUBNET not in mutations.values()
    assert all(mutant in PAPER for mutant in mutations.values())


def test_mutations_lead_from_any_subnet_to_any_other() -> None:
    reached, frontier = {TINY.smallest}, [TINY.smallest]
    while frontier:
        new = {mutant for _, mutant in TINY.mutations(frontier.pop())} - reached
        reached |= new
        frontier += new
    assert len(reached) == TINY.size()


def test_a_phase_narrows_the_space_and_by_default_leaves_the_super_network_alone() -> None:
    assert PAPER.narrow().size() == 1
    assert PAPER.narrow().largest == PAPER.narrow().smallest == PAPER.largest
    part = PAPER.narrow(depths=((2, 3), (3, 4), (12, 23), (2, 3)), widths=(1.25, 1.5))
    assert part.size() == 2 * 2 * 12 * 2 * 2**6
    assert PAPER.smallest not in part
    assert PAPER.largest in part


@pytest.mark.parametrize(
    "part",
    [
        {"depths": ((2, 3), (2, 4), (2, 24), (2, 3))},
        {"depths": ((1, 3), (2, 4), (2, 23), (2, 3))},
        {"widths": (1.0, 2.0)},
        {"widths": (1.0, 1.1, 1.5)},
    ],
)
def test_a_phase_cannot_leave_the_space(part: dict) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        PAPER.narrow(**part)


@pytest.mark.parametrize(
    ("subnet", "macs", "params"),
    [
        (replace(PAPER.largest, stem=1.0, neck=1.0), [503.1, 370.9, 234.8, 133.8], 114.26),
        (PAPER.smallest, [177.7, 133.4, 87.8, 54.3], 32.19),
    ],
)
def test_the_ends_of_the_pool_cost_what_the_paper_implies(
    subnet: SubnetSpec, macs: list[float], params: float
) -> None:
    spec = PAPER.detector_spec(subnet, TEMPLATE)
    frames = [Resolution(1333, 800), Resolution(1080, 720), Resolution(800, 600), Resolution(512, 512)]
    assert [complexity(spec, frame).macs / 1e9 for frame in frames] == pytest.approx(macs, abs=0.1)
    assert complexity(spec, frames[0]).params / 1e6 == pytest.approx(params, abs=0.01)


def test_a_subnets_detector_is_its_own_in_width_and_the_templates_in_all_else() -> None:
    spec = TINY.detector_spec(replace(TINY.smallest, depths=(2, 1, 1, 1), neck=1.5), TEMPLATE)
    assert spec.backbone.depths == (2, 1, 1, 1)
    assert spec.backbone.outs == (32, 64, 128, 256)
    assert (spec.backbone.stem, spec.neck, spec.head) == (8, 24, 32)
    assert (spec.classes, spec.region, spec.resolution) == (
        TEMPLATE.classes,
        TEMPLATE.region,
        TEMPLATE.resolution,
    )


def test_a_subnet_of_another_space_has_no_detector_here() -> None:
    with pytest.raises(ValueError, match=r"subnet d3-4-23-3 .* is not in the space"):
        TINY.detector_spec(PAPER.largest, TEMPLATE)
