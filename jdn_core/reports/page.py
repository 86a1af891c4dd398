"""``report/index.html``: one file that shows a whole search and needs neither network nor server.

Its text is in ``page.html``, that of searches side by side in ``comparison.html``, with ``page.css`` and
``page.js``; jinja2 is imported here alone.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from jdn_core.reports import contents, curves, figures, plot, texts
from jdn_core.reports.comparing import Comparison
from jdn_core.reports.contest import Line, headline
from jdn_core.reports.figures import Figure
from jdn_core.reports.tables import Candidate, ranked
from jdn_core.search.held_out import HeldOut
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.storage import durable

PAGE = "index.html"
_LOSSES = "losses_"
_VOLUME = (
    "Hypervolume is the area below the Pareto front: the mean, over all budgets of computation up to the "
    "dearest pair of all searches, of the best AP within the budget."
)


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
        contest: base, controls and winner.
        held_out: what was measured on photos that the search never saw.
        cautions: what a reader of the numbers must know.
        targets: what exported files take, in which runtime and precision.
        command: repeats the search.
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
    contest: tuple[Line, ...] = ()
    held_out: HeldOut | None = None
    cautions: tuple[str, ...] = ()
    targets: tuple[contents.Shipped, ...] = ()
    command: str = ""

    @property
    def has_contest(self) -> bool:
        """Returns whether more than base and winner, or their held-out numbers, can be shown."""
        return self.held_out is not None or len({line.name for line in self.contest}) > len(
            ("base", "winner")
        )


def write(data: ReportData, folder: Path) -> Path:
    """Writes ``index.html`` and every figure as a PNG; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(data)
    # Before the PNGs: constrained layout shifts a figure slightly each time it is drawn, and SVG ids hash it.
    text = render(data, drawn)
    for name, figure in drawn.items():
        durable.write_bytes(folder / f"{name}.png", figures.png(figure))
    durable.write_text(folder / PAGE, text)
    return folder / PAGE


def render(data: ReportData, drawn: Mapping[str, Figure]) -> str:
    """Returns the page as text.

    Args:
        data: what it shows.
        drawn: its figures, see ``draw``.
    """
    svgs = {name: _svg(figure, name) for name, figure in drawn.items()}
    way = curves.lineage(data.rows, data.best)
    return template("page.html").render(
        data=data,
        verdict=(
            headline(data.contest, data.held_out)
            if data.has_contest
            else contents.verdict(data.base, data.best)
        ),
        contest=contents.contest_table(data.contest) if data.has_contest else None,
        story=contents.story(way, len(data.rows)),
        cards=contents.cards(data.base, data.best),
        spots=plot.plot(data.rows, winner=data.best.index),
        drawing=(plot.WIDTH, plot.HEIGHT, plot.LEFT, plot.RIGHT, plot.TOP, plot.BOTTOM),
        figures=svgs,
        losses=[svg for name, svg in svgs.items() if name.startswith(_LOSSES)],
        gains=contents.gains_table(curves.action_gains(curves.steps(data.rows))),
        lineage=way,
        targets=contents.targets_table(data.targets) if data.targets else None,
        examples=[(path.stem, _data_uri(path)) for path in data.examples],
        pairs=contents.pairs_table(ranked(data.rows), winner=data.best.index),
        facts=contents.facts(dict(data.facts), data.base, data.best),
    )


def render_comparison(found: Comparison) -> str:
    """Returns searches side by side as a page of its own."""
    heads = ("", *found.names)
    budget = "The best AP (%) of each search's pairs at no more than so much computation."
    sections: list[tuple[str, str, str, contents.Table | Markup]] = [
        ("settings", "Settings that differ", "", contents.plain_table(heads, found.differences)),
        ("results", "Base and winner", _VOLUME, contents.plain_table(heads, found.results)),
    ]
    if found.at_cost:
        sections.append(("cost", "AP at equal cost", budget, contents.plain_table(heads, found.at_cost)))
    drawn = (
        ("fronts", "Pareto fronts", found.fronts, "GMACs per image", "AP (%)"),
        ("pairs", "H over pairs", found.over_pairs, "pairs", "best H so far"),
        ("seconds", "H over time", found.over_seconds, "seconds of training", "best H so far"),
    )
    for name, title, curves_, x, y in drawn:
        sections.append((name, title, "", _svg(figures.lines(curves_, x, y), name)))
    return template("comparison.html").render(names=found.names, cautions=found.cautions, sections=sections)


def draw(data: ReportData) -> dict[str, Figure]:
    """Draws every figure of the search; by the name of its file."""
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
    return drawn | {f"{_LOSSES}{i}": figures.losses(training) for i, training in enumerate(data.trainings)}


def template(name: str) -> Template:
    """Returns one of this room's pages, with the filters that numbers are shown through."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.globals["zip"] = zip
    environment.filters |= {
        "action_text": curves.action_text,
        "gain": texts.gain,
        "macs": texts.macs,
        "percent": texts.percent,
        "score": texts.score,
        "signed": texts.signed,
        "why_kept": curves.why_kept,
    }
    return environment.get_template(name)


def _svg(figure: Figure, name: str) -> Markup:
    """Returns the figure inline, in the page's font and ink, so that it follows a dark screen."""
    text = figures.svg(figure, name)
    for colour, variable in ((figures.INK, "var(--ink)"), (figures.GRID, "var(--grid)")):
        text = text.replace(colour, variable)
    return Markup(text)  # matplotlib's own markup, which escapes the titles that it is given


def _data_uri(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _frame(row: Candidate) -> Resolution:
    if row.resolution is None:
        raise ValueError(f"pair {row.index} was not evaluated")
    return Resolution.parse(row.resolution)
