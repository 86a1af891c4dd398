"""What the numbers of a study say of its claim; the rule of its verdicts is here alone.

A comparison claims that one arm is better than another by more than a least difference, which is 0 where the
claim is "better" and below 0 where it is "no worse". With the 95 % interval of the difference over seeds and
photos the claim is ``supported`` where the whole interval is above the least difference, ``not supported``
where all of it is below, and else ``undecided at n seeds``. With fewer than three seeds it is undecided
whatever the photos say: trainings that differ in their seed alone differ by points, and two do not show by
how many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal, NamedTuple, assert_never

import numpy as np

from jdn_core.evaluation import bootstrap
from jdn_core.evaluation.bootstrap import Interval, Matches, Values
from jdn_core.studies.results import Numbers

Measure = Literal["ap", "score", "BN weight"]
LEAST_SEEDS = 3
RESAMPLES = 1000
SUPPORTED, NOT_SUPPORTED = "supported", "not supported"


@dataclass(frozen=True)
class Comparison:
    """A claim about two arms, or about the means of two groups of arms.

    Attributes:
        first: names of the arms of which something is claimed.
        second: names of those that they are compared with.
        least: the claim holds where first - second is greater; a fraction of AP, or a difference of H.
        measure: what is compared; ``BN weight`` is the mean |weight| of the backbone's BN layers.
        decides: whether the study's verdict depends on it; others are shown beside.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    least: float = 0.0
    measure: Measure = "ap"
    decides: bool = True

    @property
    def title(self) -> str:
        """Returns what is compared, in words."""
        return f"{' and '.join(self.first)} against {' and '.join(self.second)}"


class Found(NamedTuple):
    """What is known of an arm under one seed: its numbers, and the matches behind its AP."""

    numbers: Numbers
    matches: Matches


@dataclass(frozen=True)
class Finding:
    """What a comparison found.

    Attributes:
        comparison: what was compared.
        seeds: how many had both arms.
        difference: mean over them; none without any.
        interval: 95 %, over seeds and photos; none where there are too few photos.
        verdict: by the rule of this module.
    """

    comparison: Comparison
    seeds: int
    difference: float | None
    interval: tuple[float, float] | None
    verdict: str

    def to_json(self) -> dict[str, Any]:
        interval = None if self.interval is None else list(self.interval)
        return {
            "comparison": self.comparison.title,
            "measure": self.comparison.measure,
            "least": self.comparison.least,
            "decides": self.comparison.decides,
            "seeds": self.seeds,
            "difference": self.difference,
            "interval": interval,
            "verdict": self.verdict,
        }


def verdict(interval: tuple[float, float] | None, *, least: float, seeds: int) -> str:
    """Returns what an interval says of the claim that a difference is greater than the least one."""
    undecided = f"undecided at {seeds} seed{'' if seeds == 1 else 's'}"
    if interval is None or seeds < LEAST_SEEDS:
        return undecided
    low, high = interval
    return SUPPORTED if low > least else NOT_SUPPORTED if high < least else undecided


def overall(findings: Iterable[Finding]) -> str:
    """Returns a study's verdict: supported where all deciding comparisons are, not where one is not."""
    deciding = [each for each in findings if each.comparison.decides]
    verdicts = {each.verdict for each in deciding}
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    if verdicts == {SUPPORTED}:
        return SUPPORTED
    fewest = min(each.seeds for each in deciding)
    return verdict(None, least=0.0, seeds=fewest)


def find(comparison: Comparison, by_seed: Sequence[Mapping[str, Found]], *, seed: int) -> Finding:
    """Compares arms under every seed that has all of them, on the same resamples of the photos.

    Args:
        comparison: what is claimed.
        by_seed: name of an arm -> what was found, for each seed; arms that failed are absent.
        seed: of the resamples.
    """
    names = {*comparison.first, *comparison.second}
    whole = [found for found in by_seed if names <= found.keys()]
    if not whole:
        return Finding(comparison, 0, None, None, verdict(None, least=comparison.least, seeds=0))
    value = mean(_difference(comparison, found) for found in whole)
    draws = np.stack([_resampled(comparison, found, seed) for found in whole])
    interval = _ends(bootstrap.interval_of(value, bootstrap.across_seeds(draws, seed=seed)))
    said = verdict(interval, least=comparison.least, seeds=len(whole))
    return Finding(comparison, len(whole), value, interval, said)


def of_searches(values: Sequence[float], *, seed: int) -> tuple[float, tuple[float, float] | None, str]:
    """Returns mean, interval and verdict of a number of searches, of which is claimed that it is > 0."""
    value, count = mean(values), len(values)
    draws = np.repeat(np.asarray(values, np.float64)[:, None], RESAMPLES, axis=1)
    spread = bootstrap.interval_of(value, bootstrap.across_seeds(draws, seed=seed))
    interval = _ends(spread) if count > 1 else None
    return value, interval, verdict(interval, least=0.0, seeds=count)


def _difference(comparison: Comparison, found: Mapping[str, Found]) -> float:
    first, second = (
        mean(_valued(comparison.measure, found[name].numbers, found[name].numbers.ap) for name in names)
        for names in (comparison.first, comparison.second)
    )
    return float(first - second)


def _resampled(comparison: Comparison, found: Mapping[str, Found], seed: int) -> Values:
    """Returns the difference on every resample of the photos, float64 [B]; the same ones for one seed."""
    names = [*comparison.first, *comparison.second]
    aps = bootstrap.resampled([found[name].matches for name in names], seed=seed, resamples=RESAMPLES)
    rows = [_valued(comparison.measure, found[name].numbers, ap) for name, ap in zip(names, aps, strict=True)]
    split = len(comparison.first)
    difference: Values = np.mean(rows[:split], axis=0) - np.mean(rows[split:], axis=0)
    return difference


def _valued(measure: Measure, numbers: Numbers, ap: Any) -> Any:
    """Returns what is compared, of one AP or of many: AP, H, which is linear in it, or what has no AP."""
    match measure:
        case "ap":
            return ap
        case "score":
            offset, slope = numbers.score
            return offset + slope * ap
        case "BN weight":
            return numbers.bn_weight + 0.0 * ap
        case _:
            assert_never(measure)


def _ends(found: Interval) -> tuple[float, float] | None:
    return (found.low, found.high) if math.isfinite(found.low) else None
