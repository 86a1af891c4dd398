from __future__ import annotations

import numpy as np
import pytest

from jdn_core.space.architecture import Resolution
from jdn_core.suggestion.frames import CPU, GPU, Budget, scales, suit
from jdn_core.suggestion.survey import Survey, survey
from tests.jdn_core.suggestion.test_survey import dataset


def photos(width: int, height: int, *, side: float = 50.0) -> Survey:
    box = [0.0, 0.0, side, side]
    return survey(dataset((width, height, [box]), (width, height, [box])), dataset((width, height, [])))


@pytest.mark.parametrize(
    ("size", "side", "budget", "frames"),
    [
        ((640, 480), 100, CPU, "192x144 256x192 320x240"),  # bccd_cpu's
        ((640, 480), 100, GPU, "320x240 416x320 512x384 640x480"),  # never larger than the photos
        ((4000, 3000), 500, GPU, "592x448 768x576 960x720 1200x896"),
        ((2048, 512), 200, CPU, "336x80 448x112 560x144"),
        ((512, 2048), 200, CPU, "80x336 112x448 144x560"),
        ((640, 480), 6, CPU, "384x288 512x384 640x480"),  # larger for small boxes, as far as it may
        ((640, 480), 12, CPU, "256x192 336x256 432x320"),  # as large as is needed, 8 px
        ((32, 32), 20, CPU, "64x64"),  # BN needs more than one cell
    ],
)
def test_frames_suit_photos_and_boxes(
    size: tuple[int, int], side: float, budget: Budget, frames: str
) -> None:
    assert " ".join(map(str, suit(photos(*size, side=side), budget))) == frames


def test_scales_are_those_of_the_loader() -> None:
    found = scales(photos(200, 100), Resolution(100, 100))
    np.testing.assert_allclose(found, [0.5, 0.5])
