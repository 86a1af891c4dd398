"""The table of base, controls and winner, and what is said of held-out photos; as values, texts and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jdn_core.reports import texts
from jdn_core.reports.tables import Candidate
from jdn_core.search.held_out import FEW_BOXES, HeldOut

CONTROLS = ("longer", "distilled", "scaled")
HEADS = ("detector", "held-out AP", "AP on val", "computation", "latency", "resolution", "H")
_WORDS = {
    "base": "the base",
    "longer": "the base trained as long",
    "distilled": "the base distilled as it is",
    "scaled": "the base narrowed and trained as long",
    "winner": "the search's winner",
}


class Line(NamedTuple):
    """One detector of the table; what was not measured is None.

    Attributes:
        name: ``base``, ``winner`` or a control's; two lines may be the base's.
        title: for people.
        held_out: AP on the photos that the search never saw, a fraction.
        ap, macs, params, latency_ms, resolution, score: on the search's own photos, which it optimised.
        is_result: whether it is what the search hands out.
        reason: why there is nothing.
    """

    name: str
    title: str
    held_out: float | None = None
    ap: float | None = None
    macs: int | None = None
    params: int | None = None
    latency_ms: float | None = None
    resolution: str | None = None
    score: float | None = None
    is_result: bool = False
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def line(row: Candidate, name: str, title: str, *, held_out: float | None, is_result: bool = False) -> Line:
    """Returns the line of a detector that was measured."""
    numbers = (row.ap, row.macs, row.params, row.latency_ms, row.resolution, row.score)
    return Line(name, title, held_out, *numbers, is_result=is_result)


def cells(found: Line) -> tuple[str, ...]:
    """Returns a line's texts under ``HEADS``; the result is marked."""
    return (
        f"{found.title}{' *' if found.is_result else ''}{f': {found.reason}' if found.reason else ''}",
        texts.percent(found.held_out),
        texts.percent(found.ap),
        texts.macs(found.macs),
        texts.milliseconds(found.latency_ms),
        found.resolution or texts.DASH,
        texts.score(found.score),
    )


def holdout_json(found: HeldOut) -> dict[str, Any]:
    """Returns ``holdout`` of the command line's JSON: AP as fractions, None for what is not there."""
    shown = found.difference
    return {
        "images": found.images,
        "boxes": found.boxes,
        "without_boxes": list(found.without_boxes),
        **{name: found.ap(name) for name in ("base", *CONTROLS, "winner")},
        "base_at_result": found.base_at.ap,
        "result": found.result,
        "best": found.ap(found.result),
        "against": shown.against,
        "difference": shown.value,
        "interval": None if shown.interval is None else list(shown.interval),
        "differences": [each.to_json() for each in found.differences],
    }


def headline(lines: Sequence[Line], found: HeldOut | None) -> str:
    """Says which detector is the result, and how it does where no choice was made on the photos."""
    result = next(each for each in lines if each.is_result)
    said = f"The result is {_WORDS[result.name]}"
    if found is None:
        return f"{said}; no photos were held out, so its numbers are those that the search optimised."
    differences = ", ".join(
        f"{texts.signed(100 * each.value)} points against {_WORDS[each.against]}{_interval(each.interval)}"
        for each in found.differences
        if each.against in ("base", "longer")
    )
    photos = f"on {found.images} photos that the search never saw"
    return f"{said}: AP {texts.percent(found.ap(found.result))} % {photos}; {differences}."


def cautions(found: HeldOut | None) -> tuple[str, ...]:
    """Returns what a reader of held-out numbers must know."""
    if found is None:
        return ()
    said = []
    if found.has_few_boxes:
        said.append(
            f"{found.boxes} held-out boxes are few (below {FEW_BOXES}): AP may be points off by chance"
        )
    if found.without_boxes:
        names = ", ".join(found.without_boxes)
        said.append(f"classes without a held-out box, left out of the mean as COCO does: {names}")
    return tuple(said)


def _interval(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ""
    low, high = (texts.signed(100 * end) for end in ends)
    return f" (95 % interval {low} to {high})"
