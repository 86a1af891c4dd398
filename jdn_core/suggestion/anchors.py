"""Anchors that cover boxes: how large a share of them has an IoU of 0.5 with one, and sets that have more.

What counts is the anchor where the grid has it, not the best imaginable one: a small box between two cells of
a coarse level is missed though its shape would fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from jdn_core.data.loading import SIZE_DIVISOR
from jdn_core.space.architecture import RegionSpec, Resolution
from jdn_core.suggestion.frames import scales
from jdn_core.suggestion.survey import Survey, quantiles

COVERED = 0.5  # IoU
_STRIDES = (4, 8, 16, 32, 64)  # of P2..P6
_LEAST_GAIN = 0.02  # of the covered share, for which another set is worth it
_FIRST = (4, 6, 8, 12, 16, 24, 32, 48, 64)  # pixels of the smallest anchors that are tried
_FACTORS = (1.4, 1.6, 2.0)  # between the sizes of two levels
_MOST_BOXES = 2_000  # that sets are tried on; the chosen one is told for all
Sizes = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class AnchorSet:
    """Anchors of the five levels: side in pixels of each, and height / width of the shapes of a cell."""

    sizes: Sizes = RegionSpec.anchor_sizes
    ratios: tuple[float, ...] = RegionSpec.aspect_ratios


@dataclass(frozen=True)
class Suited:
    """The anchors to take, and the share of boxes that torchvision's own and these cover."""

    anchors: AnchorSet
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Boxes as the network sees them: centre, width and height, size of the padded photo; [B, 2] each."""

    centres: np.ndarray
    sides: np.ndarray
    ends: np.ndarray


def suit(survey: Survey, frames: tuple[Resolution, ...], *, ratios: int | None = None) -> Suited:
    """Returns the anchors that cover most boxes over all frames; torchvision's own where others gain little.

    Args:
        survey: of the photos.
        frames: each is as likely in training as another.
        ratios: number of shapes in a cell that a checkpoint has weights for; none: any.
    """
    tried, every = _seen(survey, frames, _MOST_BOXES), _seen(survey, frames, len(survey.corners))
    usual = AnchorSet()
    scored = [(_covered(tried, each), each) for each in _candidates(survey, ratios)]
    best = max(share for (share, _), _ in scored)
    close = [(score, each) for score, each in scored if score[0] >= best - _LEAST_GAIN / 2]
    _, chosen = min(close, key=lambda pair: (_oddness(pair[1]), *(-number for number in pair[0])))
    before, after = _covered(every, usual)[0], _covered(every, chosen)[0]
    if after < before + _LEAST_GAIN:
        return Suited(usual, before, before)
    return Suited(chosen, before, after)


def coverage(survey: Survey, frames: tuple[Resolution, ...], anchors: AnchorSet) -> float:
    """Returns the share of boxes, over all frames, with an IoU of 0.5 or more to an anchor, in 0..1."""
    return _covered(_seen(survey, frames, len(survey.corners)), anchors)[0]


def _candidates(survey: Survey, ratios: int | None) -> list[AnchorSet]:
    width, height = (survey.corners[:, 2:] - survey.corners[:, :2]).T
    logs = np.log(height / width)
    middle = float(np.exp(np.median(logs)))
    shapes = [RegionSpec.aspect_ratios, tuple(round(middle * ratio, 2) for ratio in RegionSpec.aspect_ratios)]
    for count in (3, 5):
        middles = [(2 * number + 1) / (2 * count) for number in range(count)]
        found = {max(0.05, round(float(np.exp(value)), 2)) for value in quantiles(logs, middles)}
        shapes += [tuple(sorted(found))] if len(found) == count else []  # boxes of one shape: no others
    fitting = [shape for shape in shapes if ratios is None or len(shape) == ratios]
    sizes = [_rising(first, factor) for first, factor in product(_FIRST, _FACTORS)]
    return [AnchorSet(each, shape) for each, shape in product(sizes, fitting)] or [AnchorSet()]


def _oddness(anchors: AnchorSet) -> tuple[int, bool, bool, bool]:
    """Returns how far a set is from the usual: three shapes, sizes that double from a power of two."""
    first, second, *_ = anchors.sizes
    other_shapes = anchors.ratios != RegionSpec.aspect_ratios
    return len(anchors.ratios), other_shapes, second != 2 * first, first & (first - 1) != 0


def _rising(first: int, factor: float) -> Sizes:
    a, b, c, d, e = (round(first * factor**level) for level in range(5))
    return a, b, c, d, e


def _seen(survey: Survey, frames: tuple[Resolution, ...], most: int) -> _Boxes:
    """Returns the boxes in every frame, ``most`` of them in each."""
    step = -(-len(survey.corners) // most)
    corners, photo = survey.corners[::step], survey.photo[::step]
    parts = []
    for frame in frames:
        scale = scales(survey, frame)[photo][:, None]
        here = corners * scale
        padded = np.ceil(survey.sizes[photo] * scale / SIZE_DIVISOR) * SIZE_DIVISOR
        parts.append(((here[:, :2] + here[:, 2:]) / 2, here[:, 2:] - here[:, :2], padded))
    return _Boxes(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _covered(boxes: _Boxes, anchors: AnchorSet) -> tuple[float, float]:
    """Returns the share of boxes that are covered, and the mean of their best IoU."""
    best = np.zeros(len(boxes.centres))
    for (stride, size), ratio in product(zip(_STRIDES, anchors.sizes, strict=True), anchors.ratios):
        last = np.maximum(0, np.ceil(boxes.ends / stride) - 1)
        cell = np.clip(np.round(boxes.centres / stride), 0, last) * stride
        # Rounded as torchvision does, which changes the smallest ones a good deal.
        shape = 2 * np.round(size * np.array([ratio**-0.5, ratio**0.5]) / 2)
        low = np.maximum(boxes.centres - boxes.sides / 2, cell - shape / 2)
        high = np.minimum(boxes.centres + boxes.sides / 2, cell + shape / 2)
        shared = np.maximum(0, high - low).prod(axis=1)
        best = np.maximum(best, shared / (boxes.sides.prod(axis=1) + shape.prod() - shared))
    return float(np.mean(best >= COVERED)), float(best.mean())
