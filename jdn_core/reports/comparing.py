"""Searches side by side: what was set otherwise, what came out, and which numbers must not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from jdn_core.reports import texts
from jdn_core.reports.curves import GIGA, ParetoFront, Point, pareto_front
from jdn_core.reports.tables import Candidate

Line = tuple[str, ...]
_SAME_DATA = ("train", "val")  # hashes of a fingerprint
_VERSIONS = ("jdn", "torch", "torchvision")


@dataclass(frozen=True)
class Searched:
    """One search.

    Attributes:
        name: to tell it from the others.
        settings: as plain data, section by section.
        fingerprint: hashes of its data, and versions.
        rows: the table of pairs.
        base: the input detector's row.
        best: of the result.
        seconds: training time of each pair, in the order of ``rows``; 0 where there was none.
        held_out: AP of base and result on photos that the search never saw; None without.
    """

    name: str
    settings: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    rows: tuple[Candidate, ...]
    base: Candidate
    best: Candidate
    seconds: tuple[float, ...]
    held_out: tuple[float | None, float | None] | None = None

    @property
    def front(self) -> ParetoFront:
        return pareto_front(self.rows, base=self.base, best=self.best)


class Curve(NamedTuple):
    """A line of a figure: a name, and as many numbers on both axes."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class Comparison(NamedTuple):
    """What is said about several searches.

    Attributes:
        names: of the searches, in the order given.
        cautions: what cannot be compared, a sentence each.
        differences: a setting and its value in each search.
        results: a number's name and its text for each search.
        at_cost: a computation and the best AP within it for each search; empty where AP cannot be compared.
        hypervolumes: of the searches; None where they cannot be compared.
        over_pairs, over_seconds: best H so far.
        fronts: AP in percent over GMACs.
    """

    names: tuple[str, ...]
    cautions: tuple[str, ...]
    differences: tuple[Line, ...]
    results: tuple[Line, ...]
    at_cost: tuple[Line, ...]
    hypervolumes: tuple[float, ...] | None
    over_pairs: tuple[Curve, ...]
    over_seconds: tuple[Curve, ...]
    fronts: tuple[Curve, ...]


def compare(searches: Sequence[Searched]) -> Comparison:
    """Sets searches side by side; two of them at the least, each with a base and a pair."""
    same_photos = not _differing(searches, ("val",)) and len({_holdout(one) for one in searches}) == 1
    fronts = [one.front.front for one in searches]
    most = max(point.gmacs for front in fronts for point in front)
    volumes = tuple(hypervolume(front, most=most) for front in fronts) if same_photos else None
    budgets = sorted({(one.best.macs or 0) / GIGA for one in searches} | {most})
    return Comparison(
        names=tuple(one.name for one in searches),
        cautions=cautions(searches),
        differences=differences([one.settings for one in searches]),
        results=_results(searches, volumes),
        at_cost=tuple(
            (texts.macs(budget * GIGA), *(texts.percent(ap_within(front, budget)) for front in fronts))
            for budget in budgets
        )
        if same_photos
        else (),
        hypervolumes=volumes,
        over_pairs=tuple(_best_so_far(one, [1.0] * len(one.rows)) for one in searches),
        over_seconds=tuple(_best_so_far(one, one.seconds) for one in searches),
        fronts=tuple(
            Curve(one.name, tuple(p.gmacs for p in front), tuple(100 * p.ap for p in front))
            for one, front in zip(searches, fronts, strict=True)
        ),
    )


def hypervolume(front: Sequence[Point], *, most: float) -> float:
    """Returns the area below a front, as a fraction: the mean over budgets up to ``most`` of the best AP.

    Args:
        front: cheapest first, AP rising; empty: 0.
        most: GMACs of the dearest budget, > 0; points beyond it do not count.
    """
    inside = [point for point in front if point.gmacs <= most]
    ends = [point.gmacs for point in inside[1:]] + [most]
    return sum(point.ap * (end - point.gmacs) for point, end in zip(inside, ends, strict=False)) / most


def ap_within(front: Sequence[Point], gmacs: float) -> float | None:
    """Returns the best AP of a front at no more than ``gmacs``; None where nothing is as cheap."""
    return max((point.ap for point in front if point.gmacs <= gmacs), default=None)


def differences(every: Sequence[Mapping[str, Any]]) -> tuple[Line, ...]:
    """Returns the settings that are not the same in all: dotted key, then each one's value as text."""
    flat = [dict(_flat(settings)) for settings in every]
    keys = sorted({key for one in flat for key in one})
    rows = [(key, *(str(one.get(key, texts.DASH)) for one in flat)) for key in keys]
    return tuple(row for row in rows if len(set(row[1:])) > 1)


def cautions(searches: Sequence[Searched]) -> tuple[str, ...]:
    """Says what must not be compared, and why."""
    said = []
    if _differing(searches, ("val",)):
        said.append("the val photos are not the same: AP, fronts and H of one say nothing about another")
    elif len({_holdout(one) for one in searches}) > 1:
        said.append("not the same photos of val were held out: AP on the rest cannot be compared")
    if _differing(searches, ("train",)):
        said.append("the training photos are not the same")
    if len({str(sorted(one.settings["score"].items())) for one in searches}) > 1:
        said.append("H is not the same score: compare AP and computation, not H")
    elif len({(one.base.ap, one.base.macs) for one in searches}) > 1:
        said.append("H is relative to each search's own base, and the bases are not the same")
    if differing := _differing(searches, _VERSIONS):
        said.append(f"versions are not the same: {', '.join(differing)}")
    return tuple(said)


def _differing(searches: Sequence[Searched], keys: Sequence[str]) -> list[str]:
    return [key for key in keys if len({str(one.fingerprint.get(key)) for one in searches}) > 1]


def _holdout(one: Searched) -> str:
    return str(one.settings["data"].get("holdout"))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _results(searches: Sequence[Searched], volumes: Sequence[float] | None) -> tuple[Line, ...]:
    lines = [
        ("pairs", *(str(len(one.rows)) for one in searches)),
        ("training, hours", *(f"{sum(one.seconds) / 3600:.2f}" for one in searches)),
    ]
    for title, rows in (("base", [one.base for one in searches]), ("winner", [one.best for one in searches])):
        lines += [
            (f"{title}: AP (%)", *(texts.percent(row.ap) for row in rows)),
            (f"{title}: computation", *(texts.macs(row.macs) for row in rows)),
            (f"{title}: parameters", *(texts.params(row.params) for row in rows)),
            (f"{title}: resolution", *(row.resolution or texts.DASH for row in rows)),
        ]
    lines.append(("winner: H", *(texts.score(one.best.score) for one in searches)))
    if any(one.held_out for one in searches):
        for side, title in enumerate(("base", "winner")):
            values = (one.held_out[side] if one.held_out else None for one in searches)
            lines.append((f"{title}: held-out AP (%)", *map(texts.percent, values)))
    if volumes is not None:
        lines.append(("hypervolume (%)", *map(texts.percent, volumes)))
    return tuple(lines)


def _best_so_far(one: Searched, steps: Sequence[float]) -> Curve:
    """Returns the running best H over the running sum of ``steps``, one for each row."""
    places = list(accumulate(steps))
    scored = [
        (place, row.score) for place, row in zip(places, one.rows, strict=True) if row.score is not None
    ]
    return Curve(
        one.name, tuple(place for place, _ in scored), tuple(accumulate((score for _, score in scored), max))
    )
