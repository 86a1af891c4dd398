"""Resampled AP: pycocotools' own on every resample, paired, repeatable, and clear where there is nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jdn_core.evaluation import bootstrap
from jdn_core.evaluation.bootstrap import average_precisions, difference, matches, resampled
from tests.jdn_core.evaluation.coco_worlds import drawn, evaluated, reference, world


def weights(images: int, count: int, seed: int = 3) -> np.ndarray:
    return np.concatenate(list(bootstrap._draws(images, seed=seed, resamples=count)))


@pytest.mark.parametrize("digits", [15, 2, 1], ids=["distinct scores", "some ties", "many ties"])
def test_every_resample_is_worth_what_pycocotools_says(digits: int) -> None:
    dataset, results = world(25, 4, objects=5, detections=12, seed=0, digits=digits)
    drawings = weights(25, 20)
    found = average_precisions(matches(evaluated(dataset, results)), drawings)
    wanted = [reference(evaluated(*drawn(dataset, results, each))) for each in drawings]
    assert drawings.max() > 3, "a resample without an image that was drawn often shows little"
    assert found == pytest.approx(wanted, abs=1e-9)


def test_crowd_regions_are_ignored_in_resamples_too() -> None:
    dataset, results = world(20, 2, objects=6, detections=8, seed=4)
    found = matches(evaluated(dataset, results))
    assert any(each.ignored.any() for each in found.classes)
    (value,) = average_precisions(found, np.ones((1, 20), np.int64))
    assert value == pytest.approx(reference(evaluated(dataset, results)), abs=1e-12)


def test_a_class_that_a_resample_lacks_is_left_out_of_the_mean() -> None:
    dataset, results = world(6, 5, objects=1, detections=3, seed=1)
    one = np.eye(6, dtype=np.int64)  # each image alone
    wanted = [reference(evaluated(*drawn(dataset, results, each))) for each in one]
    found = average_precisions(matches(evaluated(dataset, results)), one)
    assert [-1.0 if math.isnan(value) else value for value in found] == pytest.approx(wanted, abs=1e-9)


def test_a_detector_that_finds_nothing_has_zero() -> None:
    dataset, _ = world(5, 2, objects=4, detections=0, seed=0)
    found = matches(evaluated(dataset, []))
    assert average_precisions(found, weights(5, 8)).tolist() == [0.0] * 8
    assert found.objects == sum(not row["iscrowd"] for row in dataset["annotations"])


def test_without_any_object_there_is_no_interval() -> None:
    dataset, results = world(5, 2, objects=0, detections=2, seed=0)
    found = matches(evaluated(dataset, results))
    assert np.isnan(average_precisions(found, weights(5, 3))).all()
    assert all(map(math.isnan, difference(found, found, seed=0, resamples=50)))


def test_the_difference_is_paired_and_repeatable() -> None:
    dataset, results = world(40, 3, objects=5, detections=10, seed=2)
    worse = [row for number, row in enumerate(results) if number % 4]
    better, poorer = (matches(evaluated(dataset, rows)) for rows in (results, worse))
    gain = difference(poorer, better, seed=5, resamples=200)
    assert gain == difference(poorer, better, seed=5, resamples=200)
    assert gain != difference(poorer, better, seed=6, resamples=200)
    assert 0 < gain.low < gain.value < gain.high
    alone = np.subtract(*np.quantile(resampled([better], seed=5, resamples=200)[0], [0.975, 0.025]))
    assert gain.high - gain.low < alone, "a paired interval is narrower than that of one detector"
    assert difference(better, better, seed=5, resamples=50) == (0.0, 0.0, 0.0)


def test_draws_do_not_depend_on_how_many_are_summed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights(7, 50)
    monkeypatch.setattr(bootstrap, "_AT_A_TIME", 9)
    assert (weights(7, 50) == before).all()
    assert (before.sum(axis=1) == 7).all()


def test_detectors_on_other_images_are_refused() -> None:
    first, second = (matches(evaluated(*world(n, 2, objects=3, detections=4, seed=0))) for n in (4, 5))
    with pytest.raises(ValueError, match="same images"):
        difference(first, second, seed=0)
