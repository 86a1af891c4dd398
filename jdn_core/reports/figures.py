"""Figures of a search, one function per table; the only place that draws with matplotlib.

Lines and text are drawn in one ink on nothing, so that a page can recolour them for a dark screen; data are
in the colours of Okabe and Ito, which stay apart for colour-blind readers, and differ in marker or place too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jdn_core.reports.comparing import Curve
from jdn_core.reports.curves import (
    ActionGain,
    Costs,
    LossCurves,
    ParetoFront,
    Point,
    ScoreHistory,
    StageComputation,
    Step,
)

__all__ = [
    "Figure",
    "actions",
    "costs",
    "lines",
    "losses",
    "pareto_front",
    "png",
    "score_history",
    "stage_computation",
    "svg",
]

INK, GRID = "#20242b", "#c9ced6"
BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
)  # fmt: skip
_CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW)
_MARKERS = "osD^vPX"
_MANY = 400
"""Points above this many are drawn as one picture inside the SVG, or the page would grow by megabytes."""

_STYLE = {
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "font.size": 10,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


def score_history(history: ScoreHistory) -> Figure:
    """Draws H of every pair and the best so far."""
    figure, axes = _figure("pair", "score H")
    dots = {"color": SKY, "markersize": 4.5, "alpha": 0.9, "rasterized": len(history.pairs) > _MANY}
    axes.plot(history.pairs, history.score, "o", label="pair", **dots)
    axes.step(history.pairs, history.best, where="post", color=BLUE, linewidth=2, label="best so far")
    if history.pairs:
        top = max(range(len(history.pairs)), key=history.score.__getitem__)
        axes.plot(history.pairs[top], history.score[top], "*", color=RED, markersize=14, label="winner")
    if history.base is not None:
        axes.axhline(history.base, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="base")
    _whole(axes)
    return _legend(figure, axes)


def pareto_front(front: ParetoFront) -> Figure:
    """Draws AP against the whole detector's computation: every pair at every resolution, and the front."""
    factor, unit = _unit([point.gmacs for point in front.points])
    figure, axes = _figure(f"computation ({unit} per image)", "AP (%)")
    resolutions = sorted({point.resolution for point in front.points}, key=_pixels)
    for position, resolution in enumerate(resolutions):
        points = [point for point in front.points if point.resolution == resolution]
        axes.plot(
            *_xy(points, factor),
            linestyle="none",
            marker=_MARKERS[position % len(_MARKERS)],
            color=_CYCLE[position % len(_CYCLE)],
            markersize=4.5,
            alpha=0.75,
            label=resolution,
            rasterized=len(front.points) > _MANY,
        )
    axes.step(*_xy(front.front, factor), where="post", color=INK, linewidth=1.2, label="Pareto front")
    axes.plot(*_xy([front.base], factor), "P", color=INK, markersize=11, linestyle="none", label="base")
    axes.plot(*_xy([front.best], factor), "*", color=RED, markersize=15, linestyle="none", label="winner")
    return _legend(figure, axes, outside=True)


def lines(curves: Sequence[Curve], x: str, y: str) -> Figure:
    """Draws a line of steps for each search, with a marker at each of its points where they are few."""
    figure, axes = _figure(x, y)
    for position, curve in enumerate(curves):
        axes.step(
            curve.x,
            curve.y,
            where="post",
            color=_CYCLE[position % len(_CYCLE)],
            marker=_MARKERS[position % len(_MARKERS)] if len(curve.x) <= _MANY else None,
            markersize=4.5,
            label=curve.name,
        )
    return _legend(figure, axes)


def actions(proposals: Sequence[Step], gains: Sequence[ActionGain]) -> Figure:
    """Draws which kind of action raised H in which proposal (the paper's figure 6)."""
    figure, axes = _figure("pair", "", height=1.3 + 0.42 * max(len(gains), 1))
    rows = {gain.kind: -position for position, gain in enumerate(gains)}
    raster = len(proposals) > _MANY
    # Above and below the row's line, so that thousands of pairs do not hide each other's outcome.
    looks = (
        ("raised H", BLUE, "o", 5.5, 0.13, [p for p in proposals if p.gain is not None and p.gain > 0]),
        (
            "did not",
            ORANGE,
            "|",
            7.0,
            -0.13,
            [p for p in proposals if p.state == "done" and not (p.gain or 0) > 0],
        ),
        ("failed", RED, "x", 5.5, -0.13, [p for p in proposals if p.state == "failed"]),
    )
    for label, colour, marker, size, shift, members in looks:
        places = [p.pair for p in members], [rows[p.kind] + shift for p in members]
        look = {"marker": marker, "color": colour, "markersize": size, "rasterized": raster}
        axes.plot(*places, linestyle="none", label=label, **look)
    labels = [f"{gain.kind}  {gain.raised} of {gain.tried}" for gain in gains]
    axes.set_yticks([rows[gain.kind] for gain in gains], labels)
    axes.set_ylim(-max(len(gains), 1) + 0.4, 0.6)
    axes.grid(visible=False, axis="x")
    _whole(axes)
    return _legend(figure, axes, outside=True)


def stage_computation(computation: StageComputation) -> Figure:
    """Draws multiply-accumulates by part of the detector, before and after."""
    factor, unit = _unit([value for bar in computation.bars for value in bar.gmacs])
    figure, axes = _figure("", f"computation ({unit} per image)")
    width = 0.8 / len(computation.bars)
    colours = (INK, SKY, BLUE)
    for position, bar in enumerate(computation.bars):
        middle = (position - (len(computation.bars) - 1) / 2) * width
        places = [part + middle for part in range(len(computation.parts))]
        total = _short(sum(bar.gmacs) * factor)
        axes.bar(
            places,
            [value * factor for value in bar.gmacs],
            width * 0.92,
            color=colours[position % len(colours)],
            label=f"{bar.label}: {total} {unit}",
        )
    axes.set_xticks(range(len(computation.parts)), computation.parts)
    axes.grid(visible=False, axis="x")
    return _legend(figure, axes)


def losses(curves: LossCurves) -> Figure:
    """Draws the mean loss per epoch of one training."""
    figure, axes = _figure("epoch", "mean loss", height=3.0)
    axes.set_title(curves.title, fontsize=10, loc="left")
    for position, (name, values) in enumerate(curves.losses.items()):
        epochs = range(1, len(values) + 1)
        style = ("-", "--", ":")[position // len(_CYCLE) % 3]
        colour = _CYCLE[position % len(_CYCLE)]
        axes.plot(epochs, values, style, marker=".", color=colour, label=name.removeprefix("loss_"))
    _whole(axes)
    return _legend(figure, axes, outside=True)


def costs(spent: Costs) -> Figure:
    """Draws the training time of every pair."""
    longest = max(spent.seconds, default=0.0)
    factor, unit = (1.0, "s") if longest < 180 else (1 / 60, "min") if longest < 10800 else (1 / 3600, "h")
    figure, axes = _figure("pair", f"training time ({unit})", height=2.6)
    seconds = [value * factor for value in spent.seconds]
    axes.vlines(spent.pairs, 0, seconds, color=BLUE, linewidth=2, rasterized=len(seconds) > _MANY)
    axes.set_ylim(bottom=0)
    _whole(axes)
    return figure


def svg(figure: Figure, name: str) -> str:
    """Returns an ``<svg>`` element whose ids begin with ``name``, so that several fit into one page."""
    buffer = io.StringIO()
    # The salt makes ids, and so the page's bytes, the same for the same data; matplotlib's default is random.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)


def png(figure: Figure) -> bytes:
    """Returns the figure on white, 150 dots per inch."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", facecolor="white", dpi=150)
    return buffer.getvalue()


def _figure(x: str, y: str, *, height: float = 3.8) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.6, height), facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
    return figure, axes


def _legend(figure: Figure, axes: Axes, *, outside: bool = False) -> Figure:
    if not axes.get_legend_handles_labels()[0]:
        return figure
    with matplotlib.rc_context(_STYLE):
        if outside:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        else:
            axes.legend(loc="best")
    return figure


def _whole(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _xy(points: Sequence[Point], factor: float) -> tuple[list[float], list[float]]:
    return [point.gmacs * factor for point in points], [100 * point.ap for point in points]


def _unit(gmacs: Sequence[float]) -> tuple[float, str]:
    return (1.0, "GMACs") if max(gmacs, default=0.0) >= 1 else (1000.0, "MMACs")


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _pixels(resolution: str) -> int:
    width, _, height = resolution.partition("x")
    return int(width) * int(height)
