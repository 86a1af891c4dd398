"""What the report's page says around its figures: the verdict, the cards, and tables as columns and cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from jdn_core.reports import contest, texts
from jdn_core.reports.contest import Line
from jdn_core.reports.curves import ActionGain, Ancestor, action_text
from jdn_core.reports.tables import Candidate
from jdn_core.space.architecture import Resolution

R = TypeVar("R")
_CHANGES = 4  # that the story names
Number = float | None


class Card(NamedTuple):
    """One number of the winner beside the base's; ``change`` is empty where there is none to show."""

    name: str
    value: str
    base: str
    change: str
    is_better: bool


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column of a table of rows R.

    Attributes:
        head: its title.
        text: what a row shows in it.
        sort: the number that the column is sorted by, None for an unknown one; without it, by its text.
        high: whether the best values are the high ones, so that a first click sorts downwards.
    """

    head: str
    text: Callable[[R], str]
    sort: Callable[[R], Number] | None = None
    high: bool = False


class Cell(NamedTuple):
    """What a cell shows, and the number that it is sorted by; an empty text for an unknown one."""

    text: str
    value: float | str


class Row(NamedTuple):
    """The cells of a row; ``look`` is a class of the style sheet and ``hint`` is shown under the pointer.

    ``id`` is what links to the row name it by.
    """

    cells: tuple[Cell, ...]
    look: str = ""
    hint: str = ""
    id: str = ""


class Table(NamedTuple):
    """Columns, and rows with a cell for each of them."""

    columns: tuple[Column[Any], ...]
    rows: tuple[Row, ...]


class Shipped(NamedTuple):
    """An exported file, or a pair as a target has timed it; what was not measured is None.

    Attributes:
        what: ``pair 7``, or the file's name.
        where: the target's name, or empty for this machine.
        runtime, precision, threads: what it ran in.
        median_ms, p90_ms: of one image.
        size: of the file, in bytes.
        ap: on val, out of the file.
    """

    what: str
    where: str
    runtime: str
    precision: str
    threads: int
    median_ms: float
    p90_ms: float
    size: int | None = None
    ap: float | None = None


_SHIPPED: tuple[Column[Shipped], ...] = (
    Column("what", lambda row: row.what),
    Column("target", lambda row: row.where or texts.DASH),
    Column("runs in", lambda row: f"{row.runtime} {row.precision}, threads: {row.threads}"),
    Column("latency", lambda row: texts.milliseconds(row.median_ms), lambda row: row.median_ms),
    Column("p90", lambda row: texts.milliseconds(row.p90_ms), lambda row: row.p90_ms),
    Column(
        "size", lambda row: texts.DASH if row.size is None else texts.size(row.size), lambda row: row.size
    ),
    Column("AP on val (%)", lambda row: texts.percent(row.ap), lambda row: row.ap, high=True),
)
_PAIRS: tuple[Column[Candidate], ...] = (
    Column("pair", lambda row: str(row.index), lambda row: row.index),
    Column("parent", lambda row: _number(row.parent), lambda row: row.parent),
    Column("action", lambda row: action_text(row.action)),
    Column("H", lambda row: texts.score(row.score), lambda row: row.score, high=True),
    Column("AP (%)", lambda row: texts.percent(row.ap), lambda row: row.ap, high=True),
    Column("resolution", lambda row: row.resolution or texts.DASH, lambda row: _pixels(row)),
    Column("computation", lambda row: texts.macs(row.macs), lambda row: row.macs),
    Column("parameters", lambda row: texts.params(row.params), lambda row: row.params),
    Column("latency", lambda row: texts.milliseconds(row.latency_ms), lambda row: row.latency_ms),
    Column("teacher", lambda row: row.teacher),
    Column("its AP (%)", lambda row: texts.percent(row.teacher_ap), lambda row: row.teacher_ap, high=True),
    Column("state", lambda row: row.state),
)
_CONTEST: tuple[Column[Line], ...] = (
    Column("detector", lambda line: contest.cells(line)[0]),
    Column(
        "held-out AP (%)", lambda line: texts.percent(line.held_out), lambda line: line.held_out, high=True
    ),
    Column("AP on val (%)", lambda line: texts.percent(line.ap), lambda line: line.ap, high=True),
    Column("computation", lambda line: texts.macs(line.macs), lambda line: line.macs),
    Column("parameters", lambda line: texts.params(line.params), lambda line: line.params),
    Column("latency", lambda line: texts.milliseconds(line.latency_ms), lambda line: line.latency_ms),
    Column("resolution", lambda line: line.resolution or texts.DASH, lambda line: _pixels(line)),
    Column("H", lambda line: texts.score(line.score), lambda line: line.score, high=True),
)
_GAINS: tuple[Column[ActionGain], ...] = (
    Column("action", lambda gain: gain.kind),
    Column("tried", lambda gain: str(gain.tried), lambda gain: gain.tried),
    Column("raised H", lambda gain: str(gain.raised), lambda gain: gain.raised, high=True),
    Column("failed", lambda gain: str(gain.failed), lambda gain: gain.failed),
    Column("mean gain", lambda gain: texts.gain(gain.mean_gain), lambda gain: gain.mean_gain, high=True),
    Column("best gain", lambda gain: texts.gain(gain.best_gain), lambda gain: gain.best_gain, high=True),
)


def pairs_table(ranked: Sequence[Candidate], *, winner: int) -> Table:
    """Returns the table of pairs in the order given; ``winner`` is the index of the best one."""

    def look(row: Candidate) -> str:
        return "winner" if row.index == winner else "failed" if row.state == "failed" else ""

    rows = (Row(cells(_PAIRS, row), look(row), row.student, f"pair-{row.index}") for row in ranked)
    return Table(_PAIRS, tuple(rows))


def contest_table(lines: Sequence[Line]) -> Table:
    """Returns the table of base, controls and winner; the result is marked."""
    rows = (Row(cells(_CONTEST, line), "winner" if line.is_result else "") for line in lines)
    return Table(_CONTEST, tuple(rows))


def gains_table(gains: Sequence[ActionGain]) -> Table:
    """Returns the table of what each kind of action brought."""
    return Table(_GAINS, tuple(Row(cells(_GAINS, gain)) for gain in gains))


def targets_table(rows: Sequence[Shipped]) -> Table:
    """Returns the table of what exported files take."""
    return Table(_SHIPPED, tuple(Row(cells(_SHIPPED, row)) for row in rows))


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Returns a table of texts."""
    columns = tuple(Column[Any](head, str) for head in heads)
    return Table(columns, tuple(Row(tuple(Cell(text, text) for text in row)) for row in rows))


def verdict(base: Candidate, best: Candidate) -> str:
    """Says in a sentence what the search found."""
    if best.index == base.index:
        return "No student beats the base so far."
    points, saved = _points(base, best), 1 - (best.macs or 0) / (base.macs or 1)
    cost = f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'} computation"
    gain = f"{abs(points):.1f} AP points {'more' if points >= 0 else 'less'}"
    return (
        f"The best student, pair {best.index}, has {gain} than the base at {cost}, "
        "on the photos that the search optimised."
    )


def story(way: Sequence[Ancestor], pairs: int) -> list[str]:
    """Says in two sentences what the best pair costs, and how it came about.

    Args:
        way: from the base to it.
        pairs: how many the search has evaluated.
    """
    base, best = way[0].candidate, way[-1].candidate
    if len(way) == 1:
        return []
    saved = 1 - (best.macs or 0) / (base.macs or 1)
    share = f", {abs(saved):.0%} {'less' if saved >= 0 else 'more'} than the base"
    changes = [action_text(step.candidate.action) for step in way[1:]]
    shown = ", ".join(changes[:_CHANGES]) + (
        f" and {len(changes) - _CHANGES} more" if changes[_CHANGES:] else ""
    )
    steps = "one change" if len(changes) == 1 else f"{len(changes)} changes"
    return [
        f"Pair {best.index} takes {texts.macs(best.macs)} an image at {best.resolution}{share}, and has "
        f"{texts.params(best.params)} parameters.",
        f"It is {steps} away from the base ({shown}), the best of {pairs} pairs under the score H.",
    ]


def cards(base: Candidate, best: Candidate) -> list[Card]:
    """Returns the numbers at the head of the page."""
    points = _points(base, best)
    ap = Card("AP (%)", texts.percent(best.ap), texts.percent(base.ap), texts.signed(points), points >= 0)
    resolutions = best.resolution or texts.DASH, base.resolution or texts.DASH
    return [
        ap,
        _ratio("Computation", best.macs, base.macs, texts.macs),
        _ratio("Parameters", best.params, base.params, texts.params),
        _ratio("Latency", best.latency_ms, base.latency_ms, texts.milliseconds),
        _ratio("Score H", best.score, base.score, texts.score, high=True),
        Card("Resolution", *resolutions, change="", is_better=True),
    ]


def facts(given: dict[str, str], base: Candidate, best: Candidate) -> dict[str, str]:
    """Adds the architectures and the winner's weights to what is known of a search's environment."""
    students = {"base": base.student, "best": best.student}
    if best.weights is None:
        return given | students
    weights = {"weights of the best": best.weights, "their SHA-256": best.sha256 or texts.DASH}
    return given | students | weights


def cells(columns: Sequence[Column[R]], row: R) -> tuple[Cell, ...]:
    """Returns the cells of a row."""

    def value(column: Column[R]) -> float | str:
        number = column.sort(row) if column.sort else None
        return "" if number is None else number

    return tuple(Cell(column.text(row), value(column)) for column in columns)


def _number(index: int | None) -> str:
    return texts.DASH if index is None else str(index)


def _pixels(row: Candidate | Line) -> Number:
    return Resolution.parse(row.resolution).pixels if row.resolution else None


def _points(base: Candidate, best: Candidate) -> float:
    return 100 * ((best.ap or 0) - (base.ap or 0))


def _ratio(
    name: str, best: Number, base: Number, text: Callable[[Number], str], *, high: bool = False
) -> Card:
    if best is None or not base:  # a share of nothing says nothing
        return Card(name, text(best), text(base), "", is_better=True)
    change = 100 * (best / base - 1)
    is_better = change >= 0 if high else change <= 0
    return Card(name, text(best), text(base), texts.signed(change, " %", digits=0), is_better)
