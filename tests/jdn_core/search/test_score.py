import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.search.pairs import Evaluation, Measurement
from jdn_core.search.score import Base, cost_of, excess, grade, reference, score
from jdn_core.settings.search import ScoreSettings
from jdn_core.space.architecture import Resolution
from tests.jdn_core.search.worlds import FRAMES, evaluation

SMALL, MIDDLE, LARGE = FRAMES
BASE = Base(cost=1000, pixels=LARGE.pixels, ap=0.4)
FORMS = ["product", "res_power", "additive"]


def measured(ap: float, *, frame: Resolution = LARGE, macs: int = 1000) -> Measurement:
    return Measurement(frame, {"AP": ap}, macs)


def student(aps: list[float], macs: list[int]) -> Evaluation:
    return evaluation(dict(zip(FRAMES, aps, strict=True)), dict(zip(FRAMES, macs, strict=True)))


@pytest.mark.parametrize("form", FORMS)
def test_the_base_at_the_largest_resolution_scores_its_ap(form: Any) -> None:
    rule = ScoreSettings(form=form)
    assert score(measured(0.4), cost=1000, rule=rule, base=BASE) == pytest.approx(0.4, abs=0)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("product", 0.3 * (0.5**0.8 * 0.25**0.2) ** -0.4),
        ("res_power", 0.3 * (0.5 * 0.25**0.8) ** -0.4),
        ("additive", 0.3 - 0.4 * 0.4 * (0.8 * 0.5 + 0.2 * 0.25 - 1)),
    ],
)
def test_each_form_is_what_its_formula_says(form: Any, expected: float) -> None:
    found = score(measured(0.3, frame=SMALL), cost=500, rule=ScoreSettings(form=form), base=BASE)
    assert found == pytest.approx(expected, rel=1e-12)


@given(
    st.sampled_from(FORMS), st.floats(0, 1), st.integers(1, 3000), st.sampled_from(FRAMES), st.floats(0, 1)
)
def test_more_ap_or_less_cost_never_lowers_a_score(
    form: Any, ap: float, macs: int, frame: Resolution, beta: float
) -> None:
    def h(ap: float, macs: int, frame: Resolution) -> float:
        rule = ScoreSettings(form=form, beta=beta)
        return score(measured(ap, frame=frame), cost=macs, rule=rule, base=BASE)

    assert h(ap + 0.01, macs, frame) > h(ap, macs, frame)
    assert h(ap, macs + 100, frame) <= h(ap, macs, frame)
    assert h(ap, macs, LARGE) <= h(ap, macs, frame)


def test_without_alpha_only_ap_counts() -> None:
    rule = ScoreSettings(alpha=0.0)
    assert score(measured(0.31, frame=SMALL), cost=1, rule=rule, base=BASE) == 0.31


def test_additive_is_product_to_first_order() -> None:
    near = measured(0.4), 1001
    values = [
        score(near[0], cost=near[1], rule=ScoreSettings(form=form), base=BASE)
        for form in ("product", "additive")
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert values[0] != 0.4


def test_the_reference_and_the_base_are_taken_at_the_largest_frame() -> None:
    found = student([0.2, 0.3, 0.35], [10, 20, 30])
    assert reference(found).resolution == LARGE
    assert Base.of(found, ScoreSettings()) == Base(30, LARGE.pixels, 0.35)


@pytest.mark.parametrize(
    ("rule", "aps", "chosen"),
    [
        (ScoreSettings(), [0.38, 0.39, 0.4], SMALL),
        (ScoreSettings(), [0.1, 0.2, 0.4], LARGE),
        (ScoreSettings(alpha=0), [0.4, 0.4, 0.4], SMALL),
        (ScoreSettings(min_ap=0.385), [0.38, 0.39, 0.4], MIDDLE),
        (ScoreSettings(keep_base_ap=True), [0.38, 0.39, 0.4], LARGE),
        (ScoreSettings(alpha=0, max_macs=25), [0.38, 0.39, 0.4], MIDDLE),
    ],
)
def test_the_resolution_is_the_best_one_inside_the_bounds(
    rule: ScoreSettings, aps: list[float], chosen: Resolution
) -> None:
    found = grade(student(aps, [10, 20, 30]), rule=rule, base=BASE)
    assert found.measurement.resolution == chosen
    assert found.shown == score(found.measurement, cost=30, rule=rule, base=BASE)


def test_a_student_outside_of_every_bound_has_no_score_but_a_best_grade() -> None:
    rule = ScoreSettings(min_ap=0.5, max_macs=15)
    found = grade(student([0.2, 0.3, 0.4], [10, 20, 30]), rule=rule, base=BASE)
    assert found.shown is None
    assert found.measurement.resolution == SMALL
    assert found.excess == pytest.approx(1 - 0.2 / 0.5)  # against 1/3 + 2/5 and 1 + 1/5
    assert math.isfinite(found.score)


@pytest.mark.parametrize(
    ("rule", "ap", "macs", "over"),
    [
        (ScoreSettings(), 0.0, 10**9, 0),
        (ScoreSettings(max_macs=500), 0.0, 500, 0),
        (ScoreSettings(max_macs=500), 0.0, 750, 0.5),
        (ScoreSettings(min_ap=0.2), 0.15, 1, 0.25),
        (ScoreSettings(keep_base_ap=True), 0.4, 1, 0),
        (ScoreSettings(keep_base_ap=True), 0.3, 1, 0.25),
        (ScoreSettings(max_macs=500, min_ap=0.2, keep_base_ap=True), 0.1, 1000, 1 + 0.5 + 0.75),
    ],
)
def test_the_excess_adds_up_what_each_bound_misses(
    rule: ScoreSettings, ap: float, macs: int, over: float
) -> None:
    assert excess(measured(ap, macs=macs), rule=rule, base=BASE) == pytest.approx(over)


@pytest.mark.parametrize("form", FORMS)
def test_where_there_is_nothing_to_measure_there_is_no_score(form: Any) -> None:
    rule = ScoreSettings(form=form, min_ap=0.1)
    assert score(measured(-1.0), cost=1, rule=rule, base=BASE) == -math.inf
    found = grade(student([-1.0, -1.0, -1.0], [10, 20, 30]), rule=rule, base=BASE)
    assert (found.measurement.resolution, found.score, found.shown) == (SMALL, -math.inf, None)


def test_cost_is_what_the_rule_says_and_unknown_where_nobody_measured() -> None:
    known = replace(student([0.2, 0.3, 0.4], [10, 20, 30]), latency={"edge": 4.0})
    rules = {
        cost: ScoreSettings(cost=cost, target="edge" if cost == "latency" else None)
        for cost in ("macs", "params", "latency")
    }
    assert [cost_of(known, rule) for rule in rules.values()] == [30, known.params, 4.0]
    base = Base.of(known, rules["latency"])
    unknown = grade(replace(known, latency={}), rule=rules["latency"], base=base)
    assert (unknown.score, unknown.shown) == (-math.inf, None)
    faster = grade(replace(known, latency={"edge": 2.0}), rule=rules["latency"], base=base)
    assert faster.score > grade(known, rule=rules["latency"], base=base).score
