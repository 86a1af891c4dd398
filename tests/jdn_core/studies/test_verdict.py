"""Verdicts by hand-made cases: one class, one object a photo, and detections that hit it or do not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from jdn_core.evaluation.bootstrap import ClassMatches, Matches, across_seeds, interval_of
from jdn_core.space.architecture import Resolution
from jdn_core.studies import verdict
from jdn_core.studies.results import Numbers
from jdn_core.studies.verdict import Comparison, Finding, Found

PHOTOS = 40
FRAME = Resolution(64, 64)


def found(hits: int, *, score: tuple[float, float] = (0.0, 1.0), bn_weight: float = 1.0) -> Found:
    """A detector with one detection a photo, all of one score, of which the first ``hits`` are right."""
    image = np.arange(PHOTOS)
    hit = np.tile(image < hits, (10, 1))
    each = ClassMatches(np.ones(PHOTOS, np.int64), image, np.arange(PHOTOS), hit, np.zeros_like(hit))
    matches = Matches(tuple(range(PHOTOS)), (each,))
    ap = float(np.mean(np.linspace(0, 1, 101) <= hits / PHOTOS))
    return Found(Numbers(FRAME, 1, {"64x64": 1}, {"64x64": ap}, ap, bn_weight, score), matches)


def seeds(first: Sequence[int], second: Sequence[int]) -> list[dict[str, Found]]:
    return [{"a": found(one), "b": found(other)} for one, other in zip(first, second, strict=True)]


A_AGAINST_B = Comparison(("a",), ("b",))


@pytest.mark.parametrize(
    ("interval", "least", "count", "said"),
    [
        ((0.01, 0.05), 0.0, 3, "supported"),
        ((-0.05, -0.01), 0.0, 3, "not supported"),
        ((-0.01, 0.05), 0.0, 3, "undecided at 3 seeds"),
        ((-0.009, 0.05), -0.01, 3, "supported"),
        ((-0.05, -0.011), -0.01, 3, "not supported"),
        ((0.0, 0.05), 0.0, 3, "undecided at 3 seeds"),
        ((0.01, 0.05), 0.0, 2, "undecided at 2 seeds"),
        ((0.01, 0.05), 0.0, 1, "undecided at 1 seed"),
        (None, 0.0, 5, "undecided at 5 seeds"),
    ],
)
def test_the_rule(interval: tuple[float, float] | None, least: float, count: int, said: str) -> None:
    assert verdict.verdict(interval, least=least, seeds=count) == said


def test_a_clear_difference_over_three_seeds_is_supported() -> None:
    told = verdict.find(A_AGAINST_B, seeds([36, 38, 37], [8, 10, 9]), seed=0)
    assert (told.verdict, told.seeds) == ("supported", 3)
    assert told.difference == pytest.approx(71 / 101, abs=0.02)
    assert told.interval is not None
    assert told.interval[0] < told.difference < told.interval[1]


def test_seeds_that_contradict_each_other_leave_it_undecided() -> None:
    told = verdict.find(A_AGAINST_B, seeds([36, 4, 36], [20, 20, 20]), seed=0)
    assert told.verdict == "undecided at 3 seeds"
    assert told.interval is not None
    assert told.interval[0] < 0 < told.interval[1]


def test_a_seed_whose_arm_failed_does_not_count() -> None:
    whole = seeds([36, 36], [8, 8])
    told = verdict.find(A_AGAINST_B, [*whole, {"a": found(36)}], seed=0)
    assert (told.seeds, told.verdict) == (2, "undecided at 2 seeds")
    nothing = verdict.find(A_AGAINST_B, [{"a": found(36)}], seed=0)
    assert (nothing.difference, nothing.interval, nothing.verdict) == (None, None, "undecided at 0 seeds")


def test_groups_are_compared_by_their_means() -> None:
    by_seed = [{"a": found(40), "b": found(0), "c": found(20)}]
    told = verdict.find(Comparison(("a", "b"), ("c",)), by_seed, seed=0)
    assert told.difference == pytest.approx((1 + 1 / 101) / 2 - 51 / 101, abs=0.02)


def test_the_score_is_a_linear_function_of_ap() -> None:
    by_seed = [{"a": found(20, score=(0.1, 2.0)), "b": found(20)}]
    ap = by_seed[0]["a"].numbers.ap
    told = verdict.find(Comparison(("a",), ("b",), measure="score"), by_seed, seed=0)
    assert told.difference == pytest.approx(0.1 + ap)


def test_bn_weights_are_compared_without_photos() -> None:
    by_seed = [{"a": found(3, bn_weight=1.1 + 0.01 * n), "b": found(33, bn_weight=1.0)} for n in range(3)]
    told = verdict.find(Comparison(("a",), ("b",), measure="BN weight"), by_seed, seed=0)
    assert (told.verdict, told.difference) == ("supported", pytest.approx(0.11))


def test_one_verdict_against_makes_the_study_not_supported() -> None:
    def finding(said: str, *, decides: bool = True, count: int = 3) -> Finding:
        return Finding(Comparison(("a",), ("b",), decides=decides), count, 0.0, None, said)

    yes, no, open_ = finding("supported"), finding("not supported"), finding("undecided at 3 seeds")
    assert verdict.overall([yes, yes]) == "supported"
    assert verdict.overall([yes, no, open_]) == "not supported"
    assert verdict.overall([yes, open_]) == "undecided at 3 seeds"
    assert verdict.overall([yes, finding("not supported", decides=False)]) == "supported"


def test_few_seeds_are_widened_to_the_spread_of_their_mean() -> None:
    """Of three numbers the mean's standard error is their standard deviation by the root of three."""
    values = np.array([0.0, 1.0, 5.0])
    draws = across_seeds(np.repeat(values[:, None], 200_000, axis=1), seed=1)
    assert draws.mean() == pytest.approx(2.0, abs=0.01)
    assert draws.std() == pytest.approx(values.std(ddof=1) / math.sqrt(3), rel=0.01)


def test_one_seed_has_the_interval_of_its_photos() -> None:
    draws = np.random.default_rng(0).normal(size=(1, 500))
    assert across_seeds(draws, seed=0) == pytest.approx(draws[0])
    assert interval_of(0.0, draws[0]).low == np.quantile(draws[0], 0.025)


def test_searches_are_judged_by_their_spread() -> None:
    assert verdict.of_searches([0.2], seed=0) == (0.2, None, "undecided at 1 seed")
    value, interval, said = verdict.of_searches([0.20, 0.21, 0.22], seed=0)
    assert (value, said) == (pytest.approx(0.21), "supported")
    assert interval is not None
    assert interval[0] < 0.21 < interval[1]
