"""Confidence intervals of AP by the paired bootstrap over images (ours; Efron and Tibshirani, 1993).

A resample of the images with replacement is the dataset with every image weighted by how often it was drawn.
pycocotools matches detections to objects image by image, so the matches are found once, and a resample costs
the accumulation alone: sums of weights along the detections of a class, best score first. The result equals
pycocotools on the dataset in which each image stands as often as it was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

Counts = NDArray[np.int64]
Values = NDArray[np.float64]
_RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's recall thresholds, as pycocotools computes them
_AT_A_TIME = 32  # resamples whose sums are in memory together: 32 x 100,000 detections of a class are 26 MB
_LEAST = 20  # resamples that an interval needs at the least: below, its ends are those of no distribution


class ClassMatches(NamedTuple):
    """One class over all images, at COCO's T IoU thresholds, areas of all sizes and 100 detections an image.

    Attributes:
        objects: int64 [I], objects per image that count; crowd regions do not.
        image: int64 [N], index of the image of each detection, best score first; N may be 0.
        tie: int64 [N], rising: the same number for detections of one image that have one score.
        hit: bool [T, N], whether the detection is matched to an object that counts.
        ignored: bool [T, N], whether it is matched to a crowd region, and counts for nothing.
    """

    objects: Counts
    image: Counts
    tie: Counts
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matches:
    """What pycocotools found of a detector on a dataset: all that its AP depends on.

    Attributes:
        images: ids, by rising number.
        classes: in the order of the category ids.
    """

    images: tuple[int, ...]
    classes: tuple[ClassMatches, ...]

    @property
    def objects(self) -> int:
        """How many objects the AP is over."""
        return sum(int(each.objects.sum()) for each in self.classes)


class Interval(NamedTuple):
    """A value with its confidence interval.

    Attributes:
        value: on the images as they are.
        low, high: ends of the interval; NaN where there were too few resamples with any object.
    """

    value: float
    low: float
    high: float


def matches(evaluation: COCOeval) -> Matches:
    """Collects the matches of an evaluation whose ``evaluate()`` was called with its default parameters."""
    images, thresholds = list(evaluation.params.imgIds), len(evaluation.params.iouThrs)
    areas = len(evaluation.params.areaRng)
    classes = []
    for number in range(len(evaluation.params.catIds)):
        # evalImgs lists classes, then areas (the first is all), then images; None where there is nothing.
        start = number * areas * len(images)
        found = evaluation.evalImgs[start : start + len(images)]
        classes.append(_class_matches(found, thresholds))
    return Matches(tuple(map(int, images)), tuple(classes))


def average_precisions(found: Matches, weights: Counts) -> Values:
    """Computes AP of every resample, over IoU 0.50:0.95 and all classes that have an object in it.

    Args:
        found: of one detector.
        weights: int64 [B, I], how often each image was drawn, in the order of ``found.images``.

    Returns:
        float64 [B] as fractions; NaN where a resample has no object at all.
    """
    total, present = np.zeros(len(weights)), np.zeros(len(weights))
    for each in found.classes:
        objects = weights @ each.objects
        there = objects > 0
        total[there] += _class_precision(each, weights[there], objects[there])
        present += there
    mean: Values = np.divide(total, present, out=np.full(len(weights), math.nan), where=present > 0)
    return mean


def difference(
    first: Matches, second: Matches, *, seed: int, resamples: int = 1000, level: float = 0.95
) -> Interval:
    """Computes AP of the second detector minus the first's, with the percentile interval of paired resamples.

    Both are evaluated on the same resamples, so what makes a photo hard for both cancels out.

    Args:
        first, second: on the same images.
        seed: of the draws.
        resamples: how many.
        level: share of the resamples inside the interval.

    Raises:
        ValueError: the images differ, or there are none.
    """
    if first.images != second.images or not first.images:
        raise ValueError("both detectors must be evaluated on the same images, one at the least")
    draws = resampled([first, second], seed=seed, resamples=resamples)
    once = np.ones((1, len(first.images)), np.int64)
    value = average_precisions(second, once)[0] - average_precisions(first, once)[0]
    return interval_of(float(value), draws[1] - draws[0], level)


def resampled(detectors: Sequence[Matches], *, seed: int, resamples: int) -> Values:
    """Computes AP of detectors on the same resamples of their images, as float64 [detectors, resamples]."""
    chunks = list(_draws(len(detectors[0].images), seed=seed, resamples=resamples))
    with ThreadPoolExecutor(2) as threads:  # numpy lets go of the interpreter's lock inside its sums
        rows = [list(threads.map(partial(average_precisions, each), chunks)) for each in detectors]
    return np.stack([np.concatenate(row) for row in rows])


def _draws(images: int, *, seed: int, resamples: int) -> Iterator[Counts]:
    """Weights of the resamples, a few at a time; the same for one seed, whatever ``_AT_A_TIME`` is."""
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, resamples, _AT_A_TIME):
        drawn = generator.integers(images, size=(min(_AT_A_TIME, resamples - start), images))
        yield np.stack([np.bincount(row, minlength=images) for row in drawn])


def across_seeds(draws: Values, *, seed: int) -> Values:
    """Resamples the trainings too: what a mean over seeds is on resamples of seeds and of images (ours).

    The images are the same under every seed, so the two are crossed: a resample of the images has one
    difference for each seed, and as many seeds are drawn from these, with replacement. Of few seeds such
    draws have too narrow a spread, by (S - 1) / S in variance, so the deviations are widened by that much
    (Davison and Hinkley, 1997, section 2.3). One seed has no spread, and the result is that of the images.

    Args:
        draws: float64 [S, B], of each seed on the same resamples of the images.
        seed: of the draws of the seeds.

    Returns:
        float64 [B].
    """
    seeds, resamples = draws.shape
    mean: Values = draws.mean(axis=0)
    if seeds == 1:
        return mean
    picked = np.random.Generator(np.random.PCG64(seed)).integers(seeds, size=(seeds, resamples))
    again = np.take_along_axis(draws, picked, axis=0).mean(axis=0)
    widened: Values = mean + math.sqrt(seeds / (seeds - 1)) * (again - mean)
    return widened


def interval_of(value: float, draws: Values, level: float = 0.95) -> Interval:
    """Returns a value with the percentile interval of its resamples; those that are NaN do not count."""
    draws = draws[np.isfinite(draws)]
    if len(draws) < _LEAST:
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _class_matches(found: Sequence[dict[str, Any] | None], thresholds: int) -> ClassMatches:
    objects = np.zeros(len(found), np.int64)
    scores, image = [np.zeros(0)], [np.zeros(0, np.int64)]
    hit, ignored = [np.zeros((thresholds, 0), bool)], [np.zeros((thresholds, 0), bool)]
    for index, each in enumerate(found):
        if each is None:
            continue
        objects[index] = np.count_nonzero(np.asarray(each["gtIgnore"]) == 0)
        scores.append(np.asarray(each["dtScores"], np.float64))
        image.append(np.full(len(each["dtScores"]), index, np.int64))
        ignored.append(np.asarray(each["dtIgnore"], bool))
        hit.append((np.asarray(each["dtMatches"]) > 0) & ~ignored[-1])
    falling = -np.concatenate(scores)
    # The same stable sort as in COCOeval.accumulate, so that equal scores stand in its order.
    order = np.argsort(falling, kind="mergesort")
    images = np.concatenate(image)[order]
    changes = (np.diff(falling[order]) != 0) | (np.diff(images) != 0)
    ties = np.concatenate([np.zeros(min(1, len(order)), np.int64), changes.cumsum()])
    hits, ignores = (np.concatenate(part, axis=1)[:, order] for part in (hit, ignored))
    return ClassMatches(objects, images, ties, hits, ignores)


def _class_precision(found: ClassMatches, weights: Counts, objects: Counts) -> Values:
    """AP of one class in resamples that have objects of it: float64 [B].

    Precision matters at hits alone: between two hits it only falls and recall stays. A hit of weight w stands
    for w hits in a row, of which the last has the highest precision, so one value serves all of them.
    """
    if not len(weights) or not found.hit.any():
        return np.zeros(len(weights))
    drawn, at = _unrolled(found, weights)
    hit, ignored = found.hit[:, at], found.ignored[:, at]
    seen = drawn.cumsum(axis=1)
    # How many recall thresholds are reached with so many hits: hits are whole numbers, so one table serves
    # all IoU thresholds. Recall 0 is reached by the first hit, or by none.
    most = int((drawn * hit.any(axis=0)).sum(axis=1).max())
    reached = np.searchsorted(_RECALLS, np.arange(most + 1) / objects[:, None], side="right")
    reached[:, 0] = 0
    areas = [_area(*masks, drawn, seen, reached) for masks in zip(hit, ignored, strict=True)]
    total: Values = np.sum(areas, axis=0)
    return total / (len(areas) * len(_RECALLS))


def _unrolled(found: ClassMatches, weights: Counts) -> tuple[Counts, Counts]:
    """Weights of a class's detections, int64 [B, M], and which detection each column is, int64 [M].

    A detection of an image that was drawn w times counts w times in a row, unless others of the image have
    its score: then all of them stand once, then all once more, so each of them has ``weights.max()`` columns.
    """
    at = np.arange(len(found.image))
    shared = (np.bincount(found.tie) > 1)[found.tie]
    if not shared.any():
        return weights[:, found.image], at
    most = int(weights.max())
    times = np.where(shared, most, 1)
    at = at.repeat(times)
    turn = np.arange(len(at)) - (times.cumsum() - times).repeat(times)
    order = np.lexsort((at, turn, found.tie[at]))
    at, turn = at[order], turn[order]
    drawn = weights[:, found.image[at]]
    return np.where(shared[at], drawn > turn, drawn).astype(np.int64), at


def _area(
    hit: NDArray[np.bool_], ignored: NDArray[np.bool_], drawn: Counts, seen: Counts, reached: Counts
) -> Values:
    """Sum over the recall thresholds of the interpolated precision at one IoU threshold: float64 [B]."""
    at = np.flatnonzero(hit)
    if not len(at):
        return np.zeros(len(drawn))
    hits = drawn[:, at].cumsum(axis=1)
    counted = seen[:, at]
    if (without := np.flatnonzero(ignored)).size:
        # Detections on crowd regions count for nothing: they are taken off again, up to each hit.
        left = np.zeros((len(drawn), len(without) + 1), np.int64)
        drawn[:, without].cumsum(axis=1, out=left[:, 1:])
        counted = counted - left[:, np.searchsorted(without, at)]
    precision = hits / (counted + np.spacing(1))  # as pycocotools: no division by 0 before the first weight
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    steps = np.diff(np.take_along_axis(reached, hits, axis=1), axis=1, prepend=0)
    total: Values = np.einsum("bk,bk->b", steps, best)
    return total
