import pytest

from jdn_core.space.families import DEPTHS, Family, family, round_width


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
