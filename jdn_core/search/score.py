"""H(S, R): accuracy against cost, and which resolution a student is scored at (FACTS, section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from jdn_core.search.pairs import Evaluation, Measurement

Form = Literal["product", "res_power", "additive"]


@dataclass(frozen=True)
class ScoreRule:
    """How accuracy and cost become one number: the form is ours, alpha and beta are the paper's.

    Attributes:
        form: ``product``, ``res_power`` or ``additive``, see ``score``.
        alpha: how much cost counts, >= 0.
        beta: share of the architecture's cost against the resolution's, in 0..1.
        max_macs: hard bound on the MACs at the pair's resolution.
        min_ap: hard bound on AP, a fraction.
        keep_base_ap: hard bound: AP at least the base's.
    """

    form: Form = "product"
    alpha: float = 0.4
    beta: float = 0.8
    max_macs: float | None = None
    min_ap: float | None = None
    keep_base_ap: bool = False


@dataclass(frozen=True)
class Base:
    """The input detector at the largest resolution: MACs, pixels of the frame, AP as a fraction."""

    macs: int
    pixels: int
    ap: float

    @classmethod
    def of(cls, evaluation: Evaluation) -> Base:
        """Out of the evaluation of pair 0."""
        largest = reference(evaluation)
        return cls(largest.macs, largest.resolution.pixels, largest.ap)


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
    def order(self) -> tuple[float, float]:
        """Sorts the better grade first: inside the bounds by H, then the others by excess and H (ours).

        A search in which no pair keeps the bounds thereby climbs towards them.
        """
        return self.excess, -self.score


@dataclass(frozen=True)
class Scorer:
    """H of a pair under one rule, relative to one base; called, it gives what tables show."""

    rule: ScoreRule
    base: Base

    def grade(self, evaluation: Evaluation) -> Grade:
        """The best grade over the resolutions; of equals the smallest frame."""
        macs = reference(evaluation).macs
        return min((self._at(each, macs) for each in evaluation.measurements), key=lambda grade: grade.order)

    def __call__(self, evaluation: Evaluation) -> tuple[Measurement, float]:
        """The chosen measurement, and H; minus infinity where a hard bound is broken or AP is missing."""
        grade = self.grade(evaluation)
        return grade.measurement, grade.score if grade.excess == 0 else -math.inf

    def _at(self, measurement: Measurement, macs: int) -> Grade:
        value = score(measurement, reference_macs=macs, rule=self.rule, base=self.base)
        return Grade(measurement, value, excess(measurement, rule=self.rule, base=self.base))


def reference(evaluation: Evaluation) -> Measurement:
    """The measurement at the largest frame, whose MACs compare architectures."""
    return max(evaluation.measurements, key=lambda each: (each.resolution.pixels, each.resolution))


def score(measurement: Measurement, *, reference_macs: int, rule: ScoreRule, base: Base) -> float:
    """H at one resolution, without the hard bounds; AP enters unrounded.

    With c = C / C_base and r = R / R_base, C the MACs of the whole detector at the largest resolution and R
    the pixels of this one:

    - ``product``: AP * (c^beta * r^(1 - beta))^-alpha [the form that agrees with the paper's results]
    - ``res_power``: AP * (c * r^beta)^-alpha [ours]
    - ``additive``: AP - alpha * AP_base * (beta * c + (1 - beta) * r - 1), which is ``product`` to first
    order
      around the base [ours]

    Returns:
        H; minus infinity where there was nothing to measure (AP < 0).
    """
    if measurement.ap < 0:
        return -math.inf
    c, r = reference_macs / base.macs, measurement.resolution.pixels / base.pixels
    match rule.form:
        case "product":
            return float(measurement.ap * (c**rule.beta * r ** (1 - rule.beta)) ** -rule.alpha)
        case "res_power":
            return float(measurement.ap * (c * r**rule.beta) ** -rule.alpha)
        case _:
            return measurement.ap - rule.alpha * base.ap * (rule.beta * c + (1 - rule.beta) * r - 1)


def excess(measurement: Measurement, *, rule: ScoreRule, base: Base) -> float:
    """How far a measurement oversteps the hard bounds: the sum over them of the part that is missing."""
    over = 0.0
    if rule.max_macs is not None:
        over += max(0.0, measurement.macs / rule.max_macs - 1)
    floors = [rule.min_ap or 0.0, base.ap if rule.keep_base_ap else 0.0]
    return over + sum(max(0.0, 1 - measurement.ap / floor) for floor in floors if floor > 0)
