"""H(S, R): accuracy against cost, and which resolution a student is scored at (FACTS, section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from jdn_core.search.pairs import Evaluation, Measurement
from jdn_core.settings.search import ScoreSettings


@dataclass(frozen=True)
class Base:
    """The input detector at the largest resolution: cost, pixels of the frame, AP as a fraction."""

    cost: float
    pixels: int
    ap: float

    @classmethod
    def of(cls, evaluation: Evaluation, rule: ScoreSettings) -> Base:
        """Takes it out of the evaluation of pair 0."""
        largest = reference(evaluation)
        return cls(cost_of(evaluation, rule), largest.resolution.pixels, largest.ap)


class Grade(NamedTuple):
    """What ranks a pair.

    Attributes:
        measurement: at the resolution that was chosen.
        score: H there, whether or not a hard bound holds; minus infinity where there is no AP.
        excess: how far the hard bounds are overstepped, relative to them; 0 inside.
    """

    measurement: Measurement
    score: float
    excess: float

    @property
    def shown(self) -> float | None:
        """Returns the score as tables show it: none where a hard bound is broken or AP is missing."""
        return self.score if self.excess == 0 and math.isfinite(self.score) else None

    @property
    def order(self) -> tuple[float, float]:
        """Sorts the better grade first: inside the bounds by H, then the others by excess and H (ours).

        A search in which no pair keeps the bounds thereby climbs towards them.
        """
        return self.excess, -self.score


def grade(evaluation: Evaluation, *, rule: ScoreSettings, base: Base) -> Grade:
    """Returns the best grade over the resolutions; of equals the smallest frame."""
    grades = [grade_at(evaluation, each, rule=rule, base=base) for each in evaluation.measurements]
    return min(grades, key=lambda grade: grade.order)


def grade_at(evaluation: Evaluation, chosen: Measurement, *, rule: ScoreSettings, base: Base) -> Grade:
    """Returns the grade at one resolution."""
    value = score(chosen, cost=cost_of(evaluation, rule), rule=rule, base=base)
    return Grade(chosen, value, excess(chosen, rule=rule, base=base))


def reference(evaluation: Evaluation) -> Measurement:
    """Returns the measurement at the largest frame, whose MACs compare architectures."""
    return max(evaluation.measurements, key=lambda each: (each.resolution.pixels, each.resolution))


def cost_of(evaluation: Evaluation, rule: ScoreSettings) -> float:
    """Returns what an architecture costs: MACs at the largest frame, parameters, or milliseconds on a target.

    It is NaN where the target has not timed it.
    """
    match rule.cost:
        case "macs":
            return reference(evaluation).macs
        case "params":
            return evaluation.params
        case "latency":
            return evaluation.latency.get(str(rule.target), math.nan)
        case _:
            assert_never(rule.cost)


def score(measurement: Measurement, *, cost: float, rule: ScoreSettings, base: Base) -> float:
    """Computes H at one resolution, without the hard bounds; AP enters unrounded.

    With c = C / C_base and r = R / R_base, C the cost of the whole detector at the largest resolution, which
    is its MACs in the paper, and R the pixels of this one:

    - ``product``: AP * (c^beta * r^(1 - beta))^-alpha [the form that agrees with the paper's results]
    - ``res_power``: AP * (c * r^beta)^-alpha [ours]
    - ``additive``: AP - alpha * AP_base * (beta * c + (1 - beta) * r - 1), which is ``product`` to first
    order
      around the base [ours]

    Returns:
        H; minus infinity where there was nothing to measure (AP < 0), or a cost is not known.
    """
    c = cost / base.cost
    if measurement.ap < 0 or math.isnan(c):
        return -math.inf
    r = measurement.resolution.pixels / base.pixels
    match rule.form:
        case "product":
            return float(measurement.ap * (c**rule.beta * r ** (1 - rule.beta)) ** -rule.alpha)
        case "res_power":
            return float(measurement.ap * (c * r**rule.beta) ** -rule.alpha)
        case "additive":
            return measurement.ap - rule.alpha * base.ap * (rule.beta * c + (1 - rule.beta) * r - 1)
        case _:
            assert_never(rule.form)


def excess(measurement: Measurement, *, rule: ScoreSettings, base: Base) -> float:
    """Computes how far a measurement oversteps the hard bounds: the sum over them of what is missing."""
    over = 0.0
    if rule.max_macs is not None:
        over += max(0.0, measurement.macs / rule.max_macs - 1)
    floors = [rule.min_ap or 0.0, base.ap if rule.keep_base_ap else 0.0]
    return over + sum(max(0.0, 1 - measurement.ap / floor) for floor in floors if floor > 0)
