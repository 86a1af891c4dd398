"""Which input frames suit photos: of the photos' own shape, large enough for small boxes (ours)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from jdn_core.data.transforms import fit_size
from jdn_core.space.architecture import Resolution
from jdn_core.suggestion.survey import Survey

LEAST_SIDE = 8.0  # pixels of the small boxes in the largest frame: half of the least anchor that is in use
_SMALL = 0.1  # share of the boxes that may be smaller
_STEP = 16  # pixels that sides are multiples of
_SHORTEST = 64  # pixels of a frame's shorter side: BN of the last stage then has 2x2 cells of an image
_UPSCALED = 2.0  # times a photo's side, at the most


class Budget(NamedTuple):
    """Pixels of the largest frame: as a rule, and where boxes are small; and the sides of the others."""

    usual: int
    most: int
    shares: tuple[float, ...]


# bccd_cpu's frames, and four times their area; the paper's frames, and those of small objects (VisDrone).
CPU = Budget(320 * 240, 640 * 480, (0.6, 0.8, 1.0))
GPU = Budget(1333 * 800, 1920 * 1152, (0.5, 0.65, 0.8, 1.0))


def suit(survey: Survey, budget: Budget) -> tuple[Resolution, ...]:
    """Returns frames, smallest first: the largest by budget, photos and boxes, others as shares of it.

    The largest has the usual number of pixels, or the photos' own where they are smaller, or more where a
    tenth of the boxes would be smaller than ``LEAST_SIDE``.
    """
    longer, shorter = survey.photo_size
    usual = min(1.0, math.sqrt(budget.usual / (longer * shorter)))
    small = float(np.quantile(survey.box_sides, _SMALL))
    most = min(_UPSCALED, math.sqrt(budget.most / (longer * shorter)))
    scale = max(usual, min(LEAST_SIDE / small, most), _SHORTEST / shorter)
    found = {_rounded(longer * scale * share, shorter * scale * share) for share in budget.shares}
    frames = (Resolution(*sides) if survey.is_landscape else Resolution(*sides[::-1]) for sides in found)
    return tuple(sorted(frames, key=lambda frame: (frame.pixels, frame)))


def scales(survey: Survey, frame: Resolution) -> np.ndarray:
    """Returns what every photo's pixels are multiplied by in a frame, float64 [N]."""
    return np.array([fit_size(width, height, frame)[0] / width for width, height in survey.sizes.tolist()])


def _rounded(longer: float, shorter: float) -> tuple[int, int]:
    wide, high = (max(_SHORTEST, _STEP * round(side / _STEP)) for side in (longer, shorter))
    return wide, high
