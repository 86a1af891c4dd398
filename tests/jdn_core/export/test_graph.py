"""The graph of fixed shapes finds what the detector finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from jdn_core.detector.build import Detector
from jdn_core.export.graph import ExportGraph, keep_mask
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import Family
from tests.jdn_core.tiny import REGION, SIZES, grown, images, tiny_spec


def sharp(spec: DetectorSpec) -> Detector:
    """A detector whose scores are far apart, so that rounding cannot change their order."""
    torch.manual_seed(2)
    detector = grown(spec)
    with torch.no_grad():
        detector.rpn.head.cls_logits.weight.mul_(30)
        detector.roi.box_predictor.cls_score.weight.mul_(10)
    return detector


def assert_finds_the_same(detector: Detector, found: tuple[Tensor, ...]) -> None:
    boxes, scores, labels, counts = found
    wanted = detector.detect(images(), SIZES)
    assert counts.tolist() == [len(one["boxes"]) for one in wanted]
    for row, one in enumerate(wanted):
        count = int(counts[row])
        torch.testing.assert_close(boxes[row, :count], one["boxes"], rtol=0, atol=1e-3)
        torch.testing.assert_close(scores[row, :count], one["scores"], rtol=0, atol=1e-4)
        assert torch.equal(labels[row, :count], one["labels"])
        assert not boxes[row, count:].any()
        assert not scores[row, count:].any()


@pytest.mark.parametrize("name", ["r18", "r50"])
@pytest.mark.parametrize(
    "region",
    [
        REGION,
        replace(REGION, aligned=True, rounded_anchors=False),
        replace(REGION, proposals=(2000, 20), detections=7, nms_iou=0.3),
        replace(REGION, score_threshold=0.999),
    ],
    ids=["plain", "aligned", "few", "sure"],
)
def test_it_finds_what_the_detector_finds(name: Family, region: object) -> None:
    detector = sharp(replace(tiny_spec(name), region=region))
    with torch.no_grad():
        found = ExportGraph(detector, keep=keep_mask)(images(), torch.tensor(SIZES))
    assert_finds_the_same(detector, found)


def test_the_detector_keeps_its_norms_and_the_graph_has_none() -> None:
    detector = grown(tiny_spec())
    graph = ExportGraph(detector, keep=keep_mask)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in graph.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())


def test_padding_is_not_looked_at() -> None:
    graph = ExportGraph(sharp(tiny_spec()), keep=keep_mask)
    dirty = images()
    dirty[0, :, 60:] = 5
    dirty[0, :, :, 80:] = -3
    with torch.no_grad():
        clean, other = (graph(batch, torch.tensor(SIZES)) for batch in (images(), dirty))
    assert all(torch.equal(one, two) for one, two in zip(clean, other, strict=True))


def test_float16_is_near() -> None:
    detector = sharp(tiny_spec())
    with torch.no_grad():
        full, half = (
            ExportGraph(detector, keep=keep_mask, half=half)(images(), torch.tensor(SIZES))
            for half in (False, True)
        )
    assert half[0].dtype == torch.float32
    assert (full[1][:, 0] - half[1][:, 0]).abs().max() < 0.05


def test_groups_do_not_suppress_each_other() -> None:
    box = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10]])
    scores = torch.tensor([[0.5, 0.9, 0.1], [0.8, 0.7, 0.0]])
    kept = keep_mask(torch.stack([box, box]), scores, 0.5, 0.0)
    assert kept.tolist() == [[False, True, True], [True, False, False]]


def test_nothing_to_look_at_keeps_nothing() -> None:
    assert not keep_mask(torch.zeros(2, 3, 4), torch.zeros(2, 3), 0.5, 0.5).any()


def test_of_few_boxes_or_none_the_mask_is_as_of_many() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 7.0]], [[0.0, 0.0, 8.0, 8.0]] * 2])
    for scores, wanted in (
        ([[0.9, 0.8], [0.7, -1.0]], [[True, False], [True, False]]),
        ([[0.9, 0.95], [-1.0, -1.0]], [[False, True], [False, False]]),
        ([[-1.0, -1.0], [-1.0, -1.0]], [[False, False], [False, False]]),
    ):
        assert keep_mask(boxes, torch.tensor(scores), 0.5, 0.0).tolist() == wanted
