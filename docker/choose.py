"""Writes the part of requirements.lock that an image needs, so that every image installs from the one lock.

    python docker/choose.py requirements.lock                   # what jdn itself needs: no test, no tool
    python docker/choose.py requirements.lock prefect mlflow    # these and what they need: no torch

The lock says under each package what asked for it; the choice is what the roots lead to, hash by hash. Only
the standard library is used: nothing is installed yet where this runs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from pathlib import Path

PROJECT = "jdn (pyproject.toml)"
_NAME = re.compile(r"^([A-Za-z0-9._-]+)==")
_ASKED = re.compile(r"^    #(?: via)?\s+(\S.*)$")


def entries(lock: str) -> dict[str, str]:
    """Name -> its lines: version, hashes, and who asked for it."""
    found: dict[str, str] = {}
    name = ""
    for line in lock.splitlines(keepends=True):
        if match := _NAME.match(line):
            name = match[1]
        if name:
            found[name] = found.get(name, "") + line
    return found


def asked_by(entry: str) -> set[str]:
    """The packages that a package's comments name; the project stands as ``PROJECT``."""
    return {match[1] for line in entry.splitlines() if (match := _ASKED.match(line))}


def chosen(lock: str, roots: Collection[str]) -> str:
    """The lines of the roots and of all that they need; without roots, of what the project needs to run.

    Raises:
        KeyError: the lock does not have a root.
    """
    all_entries = entries(lock)
    keep = set(roots) or {name for name, entry in all_entries.items() if PROJECT in asked_by(entry)}
    if unknown := keep - all_entries.keys():
        raise KeyError(f"not in the lock: {', '.join(sorted(unknown))}")
    grown = True
    while grown:
        more = {name for name, entry in all_entries.items() if asked_by(entry) & keep} - keep
        grown = bool(more)
        keep |= more
    return "".join(entry for name, entry in all_entries.items() if name in keep)


if __name__ == "__main__":
    sys.stdout.write(chosen(Path(sys.argv[1]).read_text(), sys.argv[2:]))
