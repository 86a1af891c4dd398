from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from jdn_core.detector.build import Detector
from jdn_core.evaluation.complexity import Cost, complexity
from jdn_core.space.architecture import BackboneSpec, DetectorSpec, Resolution
from jdn_core.space.families import Family, bottleneck_stage, family
from jdn_core.space.notation import parse_backbone
from tests.jdn_core.tiny import tiny_spec

CLASSES = tuple((number, f"class {number}") for number in range(1, 81))
FRAMES = [Resolution(1333, 800), Resolution(1080, 720), Resolution(800, 600), Resolution(512, 512)]
R18_STUDENT = "[(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]"
R50_STUDENT = (
    "[(58, 59, 205)-(60, 64, 205)-(63, 62, 205)], "
    "[(127, 128, 314)-(109, 122, 314)-(127, 123, 314)-(125, 124, 314)], "
    "[(256, 255, 591)-(243, 245, 591)-(237, 247, 591)-(243, 246, 591)-(252, 244, 591)-(252, 254, 591)], "
    "[(509, 507, 1856)-(509, 506, 1856)-(508, 507, 1856)]"
)


def _pool(depths: tuple[int, ...], width: float) -> BackboneSpec:
    stages = (
        bottleneck_stage(stage, depth=depth, inner=int(64 * width) * 2**stage)
        for stage, depth in enumerate(depths)
    )
    return BackboneSpec(64, tuple(stages))


@pytest.mark.parametrize(
    ("backbone", "backbone_gmacs", "gmacs", "backbone_params", "params"),
    [
        (family("r18"), 38.7, (160.3, 120.7, 80.0, 50.1), 11.18, 28.68),
        (family("r50"), 87.3, (215.1, 160.7, 104.6, 63.5), 23.51, 41.75),
        (parse_backbone(R50_STUDENT), 68.5, (194.0, 145.3, 95.1, 58.3), 19.39, 37.41),
        (family("r101"), 166.9, (294.6, 218.6, 140.6, 82.9), 42.50, 60.75),
        (family("x101"), 170.5, (298.2, 221.3, 142.2, 83.7), 42.13, 60.37),
        (_pool((3, 4, 23, 3), 1.5), 371.3, (503.1, 370.9, 234.8, 133.8), 95.52, 114.26),
        (_pool((2, 2, 2, 2), 1.0), 50.0, (177.7, 133.4, 87.8, 54.3), 13.95, 32.19),
    ],
    ids=["R18", "R50", "R50 student", "R101", "X101", "largest of the pool", "smallest of the pool"],
)
def test_golden_numbers_of_the_paper(
    backbone: BackboneSpec,
    backbone_gmacs: float,
    gmacs: tuple[float, ...],
    backbone_params: float,
    params: float,
) -> None:
    costs = [complexity(DetectorSpec(backbone, CLASSES), frame) for frame in FRAMES]
    assert costs[0].backbone_macs / 1e9 == pytest.approx(backbone_gmacs, abs=0.1)
    assert [cost.macs / 1e9 for cost in costs] == pytest.approx(list(gmacs), abs=0.1)
    assert costs[0].backbone_params / 1e6 == pytest.approx(backbone_params, abs=0.01)
    assert costs[0].params / 1e6 == pytest.approx(params, abs=0.01)


def test_golden_numbers_of_the_papers_r18_student() -> None:
    cost = complexity(DetectorSpec(parse_backbone(R18_STUDENT), CLASSES), Resolution(1080, 720))
    assert cost.macs / 1e9 == pytest.approx(117.1, abs=0.1)
    assert cost.params / 1e6 == pytest.approx(28.61, abs=0.01)


@pytest.mark.parametrize("name", ["r18", "r34", "r50", "r101", "x101"])
@pytest.mark.parametrize("frame", [Resolution(96, 64), Resolution(333, 217)])
def test_equals_counting_the_built_detector(name: Family, frame: Resolution) -> None:
    spec = tiny_spec(name, width=1 / 2, depth=23)
    assert complexity(spec, frame).macs == count_macs(spec, frame)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in Detector(spec).parameters())
    assert complexity(spec, frame).params == parameters


def test_a_stride_in_the_first_1x1_saves_what_it_computes_at_half_the_resolution() -> None:
    spec = tiny_spec("r50", width=1 / 2)
    stages = tuple(tuple(replace(b, stride_in="1x1") for b in blocks) for blocks in spec.backbone.stages)
    caffe = replace(spec, backbone=replace(spec.backbone, stages=stages))
    frame = Resolution(333, 217)
    assert complexity(caffe, frame).macs == count_macs(caffe, frame) < complexity(spec, frame).macs


def count_macs(spec: DetectorSpec, frame: Resolution) -> int:
    """What torch counts in the module itself, on the meta device."""
    region = spec.region
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        detector = Detector(spec)
        levels = detector.features(torch.empty(1, 3, frame.height, frame.width))
        detector.rpn.head(list(levels.values()))
        pooled = torch.empty(region.proposals[1], spec.neck, region.pooled, region.pooled)
        detector.roi.box_predictor(detector.roi.box_head(pooled))
    return int(counter.get_total_flops()) // 2


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
