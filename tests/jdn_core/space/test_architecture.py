from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.errors import FormatError
from jdn_core.space.architecture import BackboneSpec, BlockSpec, DetectorSpec, RegionSpec, Resolution
from jdn_core.space.families import DEPTHS, Family, family
from jdn_core.storage.canonical import canonical_json

R18 = family("r18", width=0.25)
Change = Callable[[tuple[tuple[BlockSpec, ...], ...]], dict[str, Any]]
CLASSES = ((1, "RBC"), (7, "Zelle <ü>"))


@pytest.mark.parametrize("text", ["1333x800", "1x1", "96X64"])
def test_a_resolution_reads_back_as_it_is_written(text: str) -> None:
    assert str(Resolution.parse(text)) == text.lower()


@pytest.mark.parametrize(
    "text", ["", "x", "800", "0x600", "800x0", "-1x5", "800x600x2", "8.5x6", "axb", "800*600"]
)
def test_what_is_no_resolution_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="resolution must look like 1333x800") as caught:
        Resolution.parse(text)
    assert repr(text) in str(caught.value)


def test_pixels_are_the_area() -> None:
    assert Resolution(1080, 720).pixels == 777_600


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"kind": "basic", "channels": (8, 8, 8)}, "a basic block has 2 convolutions"),
        ({"kind": "bottleneck", "channels": (8, 8)}, "a bottleneck block has 3 convolutions"),
        ({"kind": "basic", "channels": (8, 0)}, "channels must be >= 1"),
        ({"kind": "basic", "channels": (8, 8), "stride": 3}, "stride must be 1 or 2, got 3"),
        ({"kind": "basic", "channels": (8, 8), "groups": 2}, "groups must divide the inner widths"),
        ({"kind": "bottleneck", "channels": (8, 6, 8), "groups": 4}, "groups must divide the inner widths"),
        ({"kind": "bottleneck", "channels": (6, 8, 8), "groups": 4}, "groups must divide the inner widths"),
        (
            {"kind": "basic", "channels": (8, 8), "stride_in": "1x1"},
            "basic block cannot have its stride in '1x1'",
        ),
        (
            {"kind": "bottleneck", "channels": (4, 4, 8), "stride_in": "5x5"},
            "cannot have its stride in '5x5'",
        ),
    ],
)
def test_an_impossible_block_is_refused(block: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockSpec(**block)


def test_a_block_names_its_outer_and_its_grouped_width() -> None:
    block = BlockSpec("bottleneck", (4, 6, 24))
    assert (block.out, block.inner) == (24, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stages: {"stem": 0, "stages": stages}, "stem must be >= 1, got 0"),
        (
            lambda stages: {"stem": 16, "stages": stages[:3]},
            r"four stages of one block at least, got depths \(2, 2, 2\)",
        ),
        (lambda stages: {"stem": 16, "stages": (*stages[:3], ())}, r"got depths \(2, 2, 2, 0\)"),
        (
            lambda stages: {"stem": 16, "stages": (stages[1], *stages[1:])},
            r"stage 1 must have strides \[1, 1\], got \[2, 1\]",
        ),
        (
            lambda stages: {"stem": 24, "stages": stages},
            "block 1 of stage 1 needs a projection: 24 -> 16 at stride 1",
        ),
        (
            lambda stages: {
                "stem": 16,
                "stages": (*stages[:3], (replace(stages[3][0], projection=False), stages[3][1])),
            },
            "block 1 of stage 4 needs a projection: 64 -> 128 at stride 2",
        ),
    ],
)
def test_an_impossible_backbone_is_refused(change: Change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackboneSpec(**change(R18.stages))


def test_a_backbone_tells_its_depths_widths_and_inputs() -> None:
    assert R18.depths == (2, 2, 2, 2)
    assert R18.outs == (16, 32, 64, 128)
    assert R18.inputs() == (16, 16, 16, 32, 32, 64, 64, 128)
    assert [(stage, position) for stage, position, _ in R18.blocks()][:3] == [(0, 0), (0, 1), (1, 0)]


@given(st.sampled_from(["r18", "r34", "r50", "r101", "x101"]), st.sampled_from([0.1, 0.25, 1.0, 1.5]))
def test_a_backbone_survives_json(name: Family, width: float) -> None:
    spec = family(name, width=width)
    assert BackboneSpec.from_json(spec.to_json()) == spec


def test_a_detector_survives_json_with_the_same_key() -> None:
    region = RegionSpec(anchor_sizes=(8, 16, 32, 64, 128), aspect_ratios=(1.0,), proposals=(50, 20))
    spec = DetectorSpec(R18, CLASSES, neck=32, head=64, region=region, resolution=Resolution(320, 240))
    again = DetectorSpec.from_json(spec.to_json())
    assert again == spec
    assert again.key == spec.key != replace(spec, neck=40).key


def test_conventions_of_foreign_checkpoints_survive_json() -> None:
    block = BlockSpec("bottleneck", (8, 8, 16), projection=True, stride_in="1x1")
    rest = tuple((replace(block, stride=2),) for _ in range(3))
    foreign = DetectorSpec(
        BackboneSpec(16, ((block,), *rest)), CLASSES, region=RegionSpec(rounded_anchors=False, aligned=True)
    )
    assert DetectorSpec.from_json(foreign.to_json()) == foreign


@pytest.mark.parametrize("schema", [None, 0, 2, "1"])
def test_a_detector_of_another_schema_is_refused(schema: object) -> None:
    data = {**DetectorSpec(R18, CLASSES).to_json(), "schema": schema}
    with pytest.raises(FormatError, match=f"schema must be 1, got {schema!r}"):
        DetectorSpec.from_json(data)


def test_anchors_need_a_size_for_every_level() -> None:
    with pytest.raises(ValueError, match=r"anchor_sizes must name five pyramid levels, got \(8, 16\)"):
        RegionSpec(anchor_sizes=(8, 16))


@pytest.mark.parametrize("name", DEPTHS)
def test_a_packed_backbone_is_unpacked_as_it_was(name: Family) -> None:
    spec = family(name, width=0.5)
    assert BackboneSpec.unpack(spec.pack()) == spec
    assert len(spec.pack()) < len(canonical_json(spec.to_json())) / 3


def test_a_packed_backbone_says_where_the_stride_is() -> None:
    block = BlockSpec("bottleneck", (8, 8, 16), projection=True, stride_in="1x1")
    spec = BackboneSpec(16, ((block,), *(((replace(block, stride=2),),) * 3)))
    assert spec.pack() == "[16,[[[8,8,16,1,1,1,0,1]]" + ",[[8,8,16,2,1,1,0,1]]" * 3 + "]]"
    assert BackboneSpec.unpack(spec.pack()) == spec
