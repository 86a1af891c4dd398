from __future__ import annotations

from dataclasses import replace

import pytest

from jdn_core.evaluation.complexity import Cost, complexity
from jdn_core.space.architecture import Resolution
from jdn_core.space.families import Family
from tests.jdn_core.counting import count_macs, count_params, on_meta
from tests.jdn_core.golden import FRAMES, TABLE, Row
from tests.jdn_core.tiny import tiny_spec


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_golden_numbers_of_the_paper_from_the_specification(row: Row) -> None:
    costs = [complexity(row.spec, frame) for frame in FRAMES]
    _assert_golden(
        row,
        [(cost.backbone_macs, cost.macs) for cost in costs],
        (costs[0].backbone_params, costs[0].params),
    )


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_golden_numbers_of_the_paper_from_the_built_detector(row: Row) -> None:
    detector = on_meta(row.spec)
    _assert_golden(row, [count_macs(detector, frame) for frame in FRAMES], count_params(detector))


def _assert_golden(row: Row, macs: list[tuple[int, int]], params: tuple[int, int]) -> None:
    """To 0.1 G and 0.01 M; ``macs`` and ``params`` are those of the backbone and of all."""
    found = [macs[0][0] / 1e9, *(whole / 1e9 for _, whole in macs)]
    for value, wanted in zip(found, [row.backbone_gmacs, *row.gmacs], strict=True):
        assert wanted is None or value == pytest.approx(wanted, abs=0.1)
    for value, wanted in zip(params, [row.backbone_mparams, row.mparams], strict=True):
        assert wanted is None or value / 1e6 == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("name", ["r18", "r34", "r50", "r101", "x101"])
@pytest.mark.parametrize("frame", [Resolution(96, 64), Resolution(333, 217)])
def test_equals_counting_the_built_detector(name: Family, frame: Resolution) -> None:
    spec = tiny_spec(name, width=1 / 2, depth=23)
    cost, detector = complexity(spec, frame), on_meta(spec)
    assert (cost.backbone_macs, cost.macs) == count_macs(detector, frame)
    assert (cost.backbone_params, cost.params) == count_params(detector)


def test_a_stride_in_the_first_1x1_saves_what_it_computes_at_half_the_resolution() -> None:
    spec = tiny_spec("r50", width=1 / 2)
    stages = tuple(tuple(replace(b, stride_in="1x1") for b in blocks) for blocks in spec.backbone.stages)
    caffe = replace(spec, backbone=replace(spec.backbone, stages=stages))
    frame = Resolution(333, 217)
    macs = complexity(caffe, frame).macs
    assert macs == count_macs(on_meta(caffe), frame)[1] < complexity(spec, frame).macs


def test_parts_add_up() -> None:
    cost = complexity(tiny_spec("r50"), Resolution(96, 64))
    parts = [cost.stem, *cost.stages, cost.neck, cost.rpn, cost.head]
    assert sum(parts, start=Cost()) == Cost(cost.macs, cost.params)
    assert sum(parts[:5], start=Cost()) == Cost(cost.backbone_macs, cost.backbone_params)


def test_rois_are_those_of_the_region() -> None:
    spec = tiny_spec()
    doubled = replace(spec, region=replace(spec.region, proposals=(60, 60)))
    frame = Resolution(96, 64)
    assert complexity(doubled, frame).head.macs == 2 * complexity(spec, frame).head.macs
