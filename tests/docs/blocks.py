"""Fenced blocks of the documents, and which of them a test runs.

A block in ``sh`` or ``python`` is run unless a comment stands right before it::

    <!-- not run: the reason -->

``<!-- given: runs/mine -->`` anywhere in a page puts a finished search there before the first block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    str(path.relative_to(ROOT))
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "deployments" / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
)
RUN = ("sh", "python")
READ = ("text", "yaml", "json", "bibtex")
_BLOCK = re.compile(
    r"(?ms)(?:^<!-- not run: (?P<reason>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
)
_GIVEN = re.compile(r"(?m)^<!-- given: (\S+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: of the page, where the block's text begins.
        language: after the fence; empty if there is none.
        text: without the fences.
        reason: why it is not run; empty if it is run, or only read.
    """

    line: int
    language: str
    text: str
    reason: str

    @property
    def is_run(self) -> bool:
        return self.language in RUN and not self.reason


def blocks(page: str) -> list[Block]:
    """All blocks of a page, in their order."""
    text = (ROOT / page).read_text()
    return [
        Block(
            line=text[: found.start("text")].count("\n") + 1,
            language=found["language"],
            text=found["text"],
            reason=found["reason"] or "",
        )
        for found in _BLOCK.finditer(text)
    ]


def given(page: str) -> list[str]:
    """Folders in which a page expects a finished search."""
    return _GIVEN.findall((ROOT / page).read_text())
