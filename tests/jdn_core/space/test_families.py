import pytest

from jdn_core.evaluation.complexity import complexity
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.families import DEPTHS, Family, family, round_width

CLASSES = tuple((number, str(number)) for number in range(80))
FRAMES = [Resolution(1333, 800), Resolution(1080, 720), Resolution(800, 600), Resolution(512, 512)]


@pytest.mark.parametrize(
    ("name", "backbone", "whole", "params"),
    [
        ("r18", 38.7, [160.3, 120.7, 80.0, 50.1], [11.18, 28.68]),
        ("r50", 87.3, [215.1, 160.7, 104.6, 63.5], [23.51, 41.75]),
        ("r101", 166.9, [294.6, 218.6, 140.6, 82.9], [42.50, 60.75]),
        ("x101", 170.5, [298.2, 221.3, 142.2, 83.7], [42.13, 60.37]),
    ],
)
def test_a_full_family_costs_what_the_paper_implies(
    name: Family, backbone: float, whole: list[float], params: list[float]
) -> None:
    spec = DetectorSpec(family(name), CLASSES)
    costs = [complexity(spec, frame) for frame in FRAMES]
    assert costs[0].backbone_macs / 1e9 == pytest.approx(backbone, abs=0.1)
    assert [cost.macs / 1e9 for cost in costs] == pytest.approx(whole, abs=0.1)
    assert [costs[0].backbone_params / 1e6, costs[0].params / 1e6] == pytest.approx(params, abs=0.01)


@pytest.mark.parametrize("name", DEPTHS)
@pytest.mark.parametrize("width", [0.01, 0.1, 0.25, 0.5, 1.0, 1.3])
def test_every_family_can_be_had_at_every_width(name: Family, width: float) -> None:
    spec = family(name, width=width)
    assert spec.depths == DEPTHS[name]
    assert {channels % 8 for _, _, block in spec.blocks() for channels in (*block.channels, spec.stem)} == {0}
    assert [block.born for _, _, block in spec.blocks()] == [stage for stage, _, _ in spec.blocks()]


@pytest.mark.parametrize("width", [0.1, 0.33, 1.0, 2.0])
def test_a_resnext_keeps_the_width_of_its_groups(width: float) -> None:
    found = {(stage, block.inner // block.groups) for stage, _, block in family("x101", width=width).blocks()}
    assert found == {(0, 4), (1, 8), (2, 16), (3, 32)}


def test_a_bottleneck_stage_opens_with_a_projection_and_a_basic_first_stage_does_not() -> None:
    assert [blocks[0].projection for blocks in family("r50").stages] == [True] * 4
    assert [blocks[0].projection for blocks in family("r34").stages] == [False, True, True, True]
    assert family("r50").stages[0][0].stride == 1


@pytest.mark.parametrize(("channels", "rounded"), [(0.2, 8), (11.9, 8), (12, 16), (20, 24), (64, 64)])
def test_widths_are_rounded_to_the_nearest_multiple_of_eight(channels: float, rounded: int) -> None:
    assert round_width(channels) == rounded


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ValueError, match="family must be one of r18, r34, r50, r101, x101, got 'r19'"):
        family("r19")


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_must_be_positive(width: float) -> None:
    with pytest.raises(ValueError, match=f"width must be > 0, got {width}"):
        family("r18", width=width)
