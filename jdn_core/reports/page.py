"""``report/index.html``: one file that shows a whole search and needs neither network nor server."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jdn_core.reports import curves, figures, texts
from jdn_core.reports.figures import Figure
from jdn_core.reports.html import Html, element, join
from jdn_core.reports.tables import Candidate, ranked
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.storage import durable

PAGE = "index.html"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows.

    Attributes:
        name: of the search.
        state: ``finished``, ``running`` or whatever else is true of it.
        rows: the table of pairs.
        base: the input detector's row, at the largest resolution.
        best: the winner's row.
        base_spec, best_spec: the architectures of the two.
        trainings: loss curves of the base, of the pool's phases and of the winner.
        spent: training time of the pairs.
        examples: pictures with truth, base and student side by side.
        settings: the settings as YAML.
        facts: environment and provenance, in the order to show.
        links: title -> address, such as the search in MLflow.
    """

    name: str
    state: str
    rows: tuple[Candidate, ...]
    base: Candidate
    best: Candidate
    base_spec: DetectorSpec
    best_spec: DetectorSpec
    trainings: tuple[curves.LossCurves, ...] = ()
    spent: curves.Costs = curves.NOTHING_SPENT
    examples: tuple[Path, ...] = ()
    settings: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A part of the page with its place in the table of contents."""

    id: str
    title: str
    body: Html


def write(data: ReportData, folder: Path) -> Path:
    """Writes ``index.html`` and every figure as a PNG; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in draw(data).items():
        durable.write_bytes(folder / f"{name}.png", figures.png(figure))
    durable.write_text(folder / PAGE, render(data))
    return folder / PAGE


def render(data: ReportData) -> str:
    """The page as text."""
    sections = [section for section in _sections(data) if section.body]
    contents = element("nav", *(element("a", s.title, href=f"#{s.id}") for s in sections))
    parts = (
        element("section", element("h2", section.title), section.body, id=section.id) for section in sections
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", f"{data.name}: Joint-DetNAS report"),
        element("style", Html(_beside("page.css"))),
    )
    script = element("script", Html(_beside("page.js")))
    body = element("body", _header(data), contents, element("main", *parts), script)
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def draw(data: ReportData) -> dict[str, Figure]:
    """Every figure of the search by the name of its file."""
    proposals = curves.steps(data.rows)
    computation = curves.stage_computation(
        data.base_spec, data.best_spec, largest=_frame(data.base), chosen=_frame(data.best)
    )
    drawn = {
        "score_history": figures.score_history(curves.score_history(data.rows, base=data.base)),
        "pareto_front": figures.pareto_front(curves.pareto_front(data.rows, base=data.base, best=data.best)),
        "actions": figures.actions(proposals, curves.action_gains(proposals)),
        "stage_computation": figures.stage_computation(computation),
        "costs": figures.costs(data.spent),
    }
    return drawn | {f"losses_{i}": figures.losses(training) for i, training in enumerate(data.trainings)}


def _sections(data: ReportData) -> tuple[Section, ...]:
    drawn = {name: _svg(figure, name) for name, figure in draw(data).items()}
    losses = [svg for name, svg in drawn.items() if name.startswith("losses_")]
    return (
        Section("score", "H over generations", join(_note(_SCORE), drawn["score_history"])),
        Section("pareto", "Pareto front", join(_note(_PARETO), drawn["pareto_front"])),
        Section("actions", "Actions that raised H", join(drawn["actions"], _gains(data))),
        Section(
            "computation", "Computation per stage", join(_note(_COMPUTATION), drawn["stage_computation"])
        ),
        Section("lineage", "Lineage of the winner", _lineage(data)),
        Section("examples", "Example detections", _examples(data.examples)),
        Section("pairs", "All pairs", join(_note(_PAIRS), _pairs(data))),
        Section("trainings", "Trainings", join(*losses, drawn["costs"])),
        Section("settings", "Settings", element("pre", data.settings) if data.settings else Html()),
        Section("provenance", "Environment and provenance", _provenance(data)),
    )


_SCORE = "H joins accuracy and cost: AP at the cost of the base, more than AP where the detector costs less."
_PARETO = "Every pair at every resolution. Nothing lies above and to the left of the line."
_COMPUTATION = "Multiply-accumulates of one image, convolutions and linear layers."
_PAIRS = "Each row at the resolution that its score chose. A click on a heading sorts."


def _header(data: ReportData) -> Html:
    return element(
        "header",
        element("h1", data.name),
        element("p", _verdict(data.base, data.best), cls="verdict"),
        element("p", f"{len(data.rows)} pairs, search {data.state}. ", *_links(data.links), cls="soft"),
        element("div", *_cards(data.base, data.best), cls="cards"),
    )


def _verdict(base: Candidate, best: Candidate) -> str:
    if best.index == base.index:
        return "No student beats the base so far."
    points = 100 * ((best.ap or 0) - (base.ap or 0))
    saved = 1 - (best.macs or 0) / (base.macs or 1)
    cost = f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'} computation"
    gain = f"{abs(points):.1f} AP points {'more' if points >= 0 else 'less'}"
    return f"The best student, pair {best.index}, has {gain} than the base at {cost}."


def _cards(base: Candidate, best: Candidate) -> list[Html]:
    points = 100 * ((best.ap or 0) - (base.ap or 0))
    return [
        _card(
            "AP (%)",
            texts.percent(best.ap),
            texts.percent(base.ap),
            texts.signed(points),
            points >= 0,
        ),
        _ratio_card("Computation", best.macs, base.macs, texts.macs),
        _ratio_card("Parameters", best.params, base.params, texts.params),
        _ratio_card("Latency", best.latency_ms, base.latency_ms, texts.milliseconds),
        _ratio_card("Score H", best.score, base.score, texts.score, high=True),
        _card("Resolution", best.resolution or texts.DASH, base.resolution or texts.DASH, "", True),
    ]


def _ratio_card(name, best, base, text, *, high: bool = False) -> Html:  # type: ignore[no-untyped-def]
    change = 100 * (best / base - 1) if best is not None and base else 0.0
    return _card(
        name,
        text(best),
        text(base),
        texts.signed(change, " %", digits=0),
        change >= 0 if high else change <= 0,
    )


def _card(name: str, value: str, before: str, change: str, good: bool) -> Html:
    mark = element("span", change, cls="good" if good else "bad") if change else None
    return element(
        "div",
        element("div", name, cls="name"),
        element("div", value, cls="value"),
        element("div", f"base {before} ", mark, cls="from"),
        cls="card",
    )


def _gains(data: ReportData) -> Html:
    heads = ("action", "tried", "raised H", "failed", "mean gain", "best gain")
    rows = [
        [
            _cell(gain.kind, text=True),
            *(_cell(str(number), number) for number in (gain.tried, gain.raised, gain.failed)),
            *(_cell(texts.gain(number), number) for number in (gain.mean_gain, gain.best_gain)),
        ]
        for gain in curves.action_gains(curves.steps(data.rows))
    ]
    return _table(heads, [element("tr", *cells) for cells in rows]) if rows else Html()


def _lineage(data: ReportData) -> Html:
    return element("ol", *map(_ancestor, curves.lineage(data.rows, data.best)), cls="lineage")


def _ancestor(step: curves.Ancestor) -> Html:
    row = step.candidate
    good = step.gain is not None and step.gain > 0
    gain = (
        element("span", f" {texts.gain(step.gain)}", cls="good" if good else "bad")
        if step.gain is not None
        else None
    )
    accuracy = f"H {texts.score(row.score)}, AP {texts.percent(row.ap)} %"
    numbers = f"{accuracy}, {texts.macs(row.macs)} at {row.resolution}"
    return element(
        "li",
        element("strong", f"pair {row.index}: {curves.action_text(row.action)}"),
        element("div", numbers, gain),
        element("details", element("summary", "architecture"), element("code", row.student), cls="soft"),
    )


def _examples(pictures: Sequence[Path]) -> Html:
    shown = (
        element("img", src=_data_uri(path), alt=f"truth, base and student on {path.stem}")
        for path in pictures
    )
    return element("figure", *shown) if pictures else Html()


_HEADS = (
    "pair",
    "parent",
    "action",
    "H",
    "AP (%)",
    "resolution",
    "computation",
    "parameters",
    "latency",
    "teacher",
    "state",
)


def _pairs(data: ReportData) -> Html:
    return _table(_HEADS, [_pair(row, winner=row.index == data.best.index) for row in ranked(data.rows)])


def _pair(row: Candidate, *, winner: bool) -> Html:
    pixels = Resolution.parse(row.resolution).pixels if row.resolution else None
    return element(
        "tr",
        _cell(str(row.index), row.index),
        _cell(texts.DASH if row.parent is None else str(row.parent), row.parent),
        _cell(curves.action_text(row.action), text=True),
        _cell(texts.score(row.score), row.score),
        _cell(texts.percent(row.ap), row.ap),
        _cell(row.resolution or texts.DASH, pixels),
        _cell(texts.macs(row.macs), row.macs),
        _cell(texts.params(row.params), row.params),
        _cell(texts.milliseconds(row.latency_ms), row.latency_ms),
        _cell(row.teacher, text=True),
        _cell(row.state, text=True),
        cls="winner" if winner else "failed" if row.state == "failed" else None,
        title=row.student,
    )


def _table(heads: Sequence[str], rows: Sequence[Html]) -> Html:
    texts, high = ("action", "teacher", "state"), ("H", "AP (%)", "raised H", "mean gain", "best gain")
    titles = (
        element("th", head, scope="col", cls="text" if head in texts else None, data_high=head in high)
        for head in heads
    )
    table = element(
        "table", element("thead", element("tr", *titles)), element("tbody", *rows), cls="sortable"
    )
    return element("div", table, cls="scroll", tabindex="0")


def _cell(shown: str, value: float | None = None, *, text: bool = False) -> Html:
    return element(
        "td", shown, cls="text" if text else None, data_value=None if text else "" if value is None else value
    )


def _provenance(data: ReportData) -> Html:
    facts = {**data.facts, "base": data.base.student, "best": data.best.student}
    if data.best.weights is not None:
        facts |= {"weights of the best": data.best.weights, "their SHA-256": data.best.sha256 or texts.DASH}
    return element(
        "dl",
        *(join(element("dt", key), element("dd", element("code", value))) for key, value in facts.items()),
    )


def _links(links: Mapping[str, str]) -> list[Html]:
    return [
        join(element("a", title, href=address, rel="noreferrer"), " ") for title, address in links.items()
    ]


def _svg(figure: Figure, name: str) -> Html:
    """The figure inline, in the page's font and ink, so that it follows a dark screen."""
    text = figures.svg(figure, name)
    for colour, variable in ((figures.INK, "var(--ink)"), (figures.GRID, "var(--grid)")):
        text = text.replace(colour, variable)
    return element("figure", Html(text))


def _note(text: str) -> Html:
    return element("p", text, cls="soft")


def _data_uri(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _frame(row: Candidate) -> Resolution:
    if row.resolution is None:
        raise ValueError(f"pair {row.index} was not evaluated")
    return Resolution.parse(row.resolution)
