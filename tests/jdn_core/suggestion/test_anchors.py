from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from jdn_core.detector.build import build
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.families import family
from jdn_core.suggestion.anchors import AnchorSet, coverage, suit
from jdn_core.suggestion.survey import Survey, survey
from tests.jdn_core.suggestion.test_survey import dataset
from tests.jdn_core.tiny import REGION

FRAME = (Resolution(320, 256),)


def boxes_of(*sides: tuple[float, float], count: int = 40, seed: int = 0) -> Survey:
    """A photo of 320x256 with boxes of these (width, height), each ``count`` times at random places."""
    rng = np.random.default_rng(seed)
    boxes = []
    for (width, height), _ in product(sides, range(count)):
        x, y = rng.uniform(0, 320 - width), rng.uniform(0, 256 - height)
        boxes.append([x, y, x + width, y + height])
    return survey(dataset((320, 256, boxes)), dataset((320, 256, [])))


@pytest.mark.parametrize("sides", [(9, 12), (40, 30), (200, 90), (300, 250)])
def test_the_share_is_that_of_the_detectors_own_anchors(sides: tuple[int, int]) -> None:
    found = boxes_of(sides)
    spec = DetectorSpec(family("r18", width=0.125), ((1, "any"),), neck=8, head=8, region=REGION)
    detector = build(spec).eval()
    images = torch.zeros(1, 3, 256, 320)
    anchors = detector.rpn.anchor_generator(
        ImageList(images, [(256, 320)]), list(detector.features(images).values())
    )[0]
    best = box_iou(torch.tensor(found.corners, dtype=torch.float32), anchors).amax(dim=1)
    wanted = (best >= 0.5).float().mean().item()
    here = coverage(found, FRAME, AnchorSet(REGION.anchor_sizes, REGION.aspect_ratios))
    assert here == pytest.approx(wanted)


def test_usual_anchors_stay_where_they_cover_all() -> None:
    found = suit(boxes_of((60, 60), (120, 120)), FRAME)
    assert (found.anchors, found.after) == (AnchorSet(), found.before)


@pytest.mark.parametrize("sides", [(7, 7), (120, 12), (20, 160), (10, 60)])
def test_anchors_that_cover_more_are_taken(sides: tuple[int, int]) -> None:
    found = suit(boxes_of(sides), FRAME)
    assert found.after >= found.before + 0.3
    assert found.after == coverage(boxes_of(sides), FRAME, found.anchors)
    assert list(found.anchors.sizes) == sorted(set(found.anchors.sizes))


def test_of_sets_as_good_the_plainest_is_taken() -> None:
    assert suit(boxes_of((16, 16), (32, 32)), FRAME).anchors == AnchorSet((16, 32, 64, 128, 256))


def test_a_checkpoints_number_of_shapes_stays() -> None:
    found = suit(boxes_of((120, 12), (12, 120), (40, 40)), FRAME, ratios=3)
    assert len(found.anchors.ratios) == 3
    assert suit(boxes_of((7, 7)), FRAME, ratios=4).anchors == AnchorSet()  # there is none of four
