"""Every pair as a point that can be pointed at and clicked: AP against cost, laid out for the page's SVG.

The page draws it without a library: each point is a link to the pair's row, with a title that browsers show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jdn_core.reports import texts
from jdn_core.reports.curves import action_text
from jdn_core.reports.tables import Candidate, undominated

WIDTH, HEIGHT = 720, 380  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44  # of its margins
_TICKS = 5
_STEPS = (1.0, 2.0, 5.0, 10.0)
_ROOM = 0.04  # of an axis, left free at both ends


class Spot(NamedTuple):
    """One pair: where it is drawn, what it says, and how it looks (a class of the style sheet)."""

    pair: int
    x: float
    y: float
    title: str
    look: str


class Tick(NamedTuple):
    """A line of the grid with its number."""

    place: float
    text: str


class Plot(NamedTuple):
    """All that is drawn: spots, the worst first so that the best lie on top, ticks, and the front's path."""

    spots: tuple[Spot, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    front: str
    unit: str


class _Axis(NamedTuple):
    """A scale from values to places."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> Iterator[Tick]:
        """Yields round numbers inside, about five of them."""
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * each for each in _STEPS if power * each >= rough)
        digits = max(0, -math.floor(math.log10(step)))
        number = math.ceil(self.low / step)
        while number * step <= self.high:
            yield Tick(self.place(number * step), f"{number * step:.{digits}f}")
            number += 1


def plot(rows: Sequence[Candidate], *, winner: int) -> Plot | None:
    """Lays out every evaluated pair at the resolution that its score chose; none where there is no pair.

    Args:
        rows: the table of pairs.
        winner: index of the best one.
    """
    known = [(row, row.macs, 100 * row.ap) for row in rows if row.macs and row.ap is not None]
    if not known:
        return None
    giga = max(macs for _, macs, _ in known) >= 1e9
    factor, unit = (1e9, "GMACs") if giga else (1e6, "MMACs")
    across = _axis([macs / factor for _, macs, _ in known], LEFT, WIDTH - RIGHT)
    up = _axis([ap for _, _, ap in known], HEIGHT - BOTTOM, TOP)
    spots = [
        Spot(row.index, across.place(macs / factor), up.place(ap), _title(row), _look(row, winner))
        for row, macs, ap in sorted(known, key=lambda each: each[0].score or -math.inf)
    ]
    best = undominated(known, lambda each: (each[1], each[2]))
    line = [(across.place(macs / factor), up.place(ap)) for _, macs, ap in best]
    return Plot(tuple(spots), tuple(across.ticks()), tuple(up.ticks()), _steps(line), unit)


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    room = _ROOM * (high - low) or max(abs(high) * 0.1, 1e-3)
    return _Axis(low - room, high + room, start, end)


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """Returns the path of a line that is level between two points."""
    (x, y), *others = points
    path = [f"M{x} {y}"]
    for x, y in others:
        path.append(f"H{x}V{y}")
    return "".join([*path, f"H{WIDTH - RIGHT}"])


def _look(row: Candidate, winner: int) -> str:
    return "winner" if row.index == winner else "base" if row.index == 0 else ""


def _title(row: Candidate) -> str:
    numbers = f"AP {texts.percent(row.ap)} %, {texts.macs(row.macs)} at {row.resolution}"
    parent = "" if row.parent is None else f" of pair {row.parent}"
    return f"pair {row.index}: {action_text(row.action)}{parent}\n{numbers}, H {texts.score(row.score)}"
