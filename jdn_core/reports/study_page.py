"""The page of a study, one file that needs neither network nor server: a function of ``study.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jdn_core.reports import page, texts
from jdn_core.reports.contents import Column, Row, Table, cells
from jdn_core.storage import durable

Data = Mapping[str, Any]


def write(found: Data, file: Path) -> Path:
    """Writes the page of what a study found; returns its path."""
    durable.write_text(file, render(found))
    return file


def render(found: Data) -> str:
    """Returns the page as text."""
    arms = (
        "Means over the seeds. The cost is images times multiply-accumulates of every forward pass, the "
        "teacher's among them, and seconds of training."
    )
    claims = (
        "A claim holds where the difference is greater than the least one. A verdict in parentheses is shown "
        "beside; the study's does not depend on it."
    )
    sections = (
        ("comparisons", "Comparisons", claims, comparisons_table(found["comparisons"])),
        ("arms", "Arms", arms, arms_table(found["rows"])),
    )
    return page.template("study.html").render(
        found=found, verdict=verdict(found), basis=basis(found), sections=sections
    )


def verdict(found: Data) -> str:
    """Says what a study found, in a line: the verdict, the difference and its interval."""
    first = found["comparisons"][0] if found["comparisons"] else {"measure": "ap"}
    said = f"{found['verdict'].capitalize()}."
    if found["difference"] is None:
        return said
    return f"{said} Difference: {difference(first['measure'], found['difference'], found['interval'])}."


def difference(measure: str, value: float | None, interval: Sequence[float] | None) -> str:
    """Returns a difference of AP in points, or of another measure as it is, with its 95 % interval."""
    if value is None:
        return texts.DASH
    unit = {"ap": " points", "score": " of H"}.get(measure, f" of {measure}")
    scale, digits = (100, 1) if measure == "ap" else (1, 4)
    shown = texts.signed(scale * value, unit, digits=digits)
    if interval is None:
        return shown
    low, high = (texts.signed(scale * end, digits=digits) for end in interval)
    return f"{shown} (95 % interval {low} to {high})"


def basis(found: Data) -> str:
    """Says what the numbers stand on: seeds, photos and boxes."""
    seeds, on = found["seeds"], found.get("measured_on")
    text = f"{seeds} seed{'' if seeds == 1 else 's'}"
    return f"{text}, {on['images']} {on['photos']} with {on['boxes']} boxes." if on else f"{text}."


def comparisons_table(comparisons: Sequence[Data]) -> Table:
    """Returns the table of comparisons, the deciding ones first as they are."""
    columns: tuple[Column[Data], ...] = (
        Column("comparison", lambda row: row["comparison"]),
        Column(
            "difference",
            lambda row: difference(row["measure"], row["difference"], row["interval"]),
            lambda row: row["difference"],
            high=True,
        ),
        Column("more than", lambda row: _least(row["measure"], row["least"]), _number("least")),
        Column("verdict", lambda row: row["verdict"] if row["decides"] else f"({row['verdict']})"),
    )
    return Table(columns, tuple(Row(cells(columns, row)) for row in comparisons))


def _least(measure: str, least: float) -> str:
    return difference(measure, least, None) if least else "0"


def arms_table(rows: Sequence[Data]) -> Table:
    """Returns the table of arms with what each cost; of another kind of study, the columns that it has."""
    columns = arm_columns() if rows and "arm" in rows[0] else _plain_columns(rows)
    return Table(columns, tuple(Row(cells(columns, row)) for row in rows))


def arm_columns() -> tuple[Column[Data], ...]:
    """Returns the columns of the table of arms."""
    return (
        Column("arm", lambda row: row["arm"]),
        Column("AP (%)", lambda row: texts.percent(row["ap"]), _number("ap"), high=True),
        Column("by seed", lambda row: " ".join(map(texts.percent, row["ap_by_seed"]))),
        Column("AP on val (%)", lambda row: texts.percent(row["ap_val"]), _number("ap_val"), high=True),
        Column("H", lambda row: texts.score(row["score"]), _number("score"), high=True),
        Column("computation", lambda row: texts.macs(row["macs"]), _number("macs")),
        Column("resolution", lambda row: ", ".join(row["resolutions"])),
        Column("images x MACs", lambda row: texts.macs(row["image_macs"]), _number("image_macs")),
        Column("seconds", lambda row: _seconds(row["seconds"]), _number("seconds")),
        Column("failed", lambda row: "; ".join(row["failures"])),
    )


def _plain_columns(rows: Sequence[Data]) -> tuple[Column[Data], ...]:
    """Returns a column for each member of rows that are all alike."""
    return tuple(Column(name.replace("_", " "), _text(name)) for name in (rows[0] if rows else ()))


def _number(name: str) -> Callable[[Data], float | None]:
    return lambda row: row[name]


def _text(name: str) -> Callable[[Data], str]:
    def text(row: Data) -> str:
        value = row[name]
        return texts.DASH if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    return text


def _seconds(value: float | None) -> str:
    return texts.DASH if value is None else f"{value:.0f}"
