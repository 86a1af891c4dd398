"""All parts in one JSON and one Markdown file, written anew after every part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from jdn_core.storage import durable
from tests.gpu.findings import Item, Result

JSON_FILE, MARKDOWN_FILE = "check.json", "check.md"


def write(results: Sequence[Result], out: Path, *, passed: bool) -> None:
    """Writes both files."""
    data = {"passed": passed, "parts": [asdict(result) for result in results]}
    durable.write_json(out / JSON_FILE, data)
    durable.write_text(out / MARKDOWN_FILE, markdown(results, passed=passed))


def markdown(results: Sequence[Result], *, passed: bool) -> str:
    """Returns a table of the parts, then the tables of each part's items."""
    head = ("part", "result", "seconds", "why")
    rows = [(r.part, r.state, f"{r.seconds:.1f}", r.reason) for r in results]
    verdict = (
        "Everything that must pass has passed." if passed else "Something that must pass has not passed."
    )
    lines = ["# GPU check", "", verdict, "", *_table(head, rows)]
    for result in results:
        lines += ["", f"## {result.part}"]
        for items in _alike(result.items):
            lines += ["", *_item_table(items)]
    return "\n".join(lines) + "\n"


def _alike(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Groups items that tell the same numbers, so that each group is a table."""
    groups: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        groups.setdefault(tuple(item.numbers), []).append(item)
    yield from groups.values()


def _item_table(items: Sequence[Item]) -> list[str]:
    names, reasons = list(items[0].numbers), any(item.reason for item in items)
    head = ("item", "result", *names, *(("why",) if reasons else ()))
    rows = [
        (
            item.name,
            item.state,
            *(_shown(item.numbers[name]) for name in names),
            *((item.reason,) if reasons else ()),
        )
        for item in items
    ]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _shown(value: float | str) -> str:
    """Returns four digits of a number, enough to compare and few enough to read."""
    return value if isinstance(value, str) else f"{value:.4g}"
