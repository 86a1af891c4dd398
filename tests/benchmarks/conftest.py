"""What every benchmark stands on: a note of each figure, and one table with the machine's name at the end."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest


class Note(Protocol):
    """Writes one line of the closing table; fails the benchmark where the figure is over its bound."""

    def __call__(self, what: str, figure: float, unit: str, *, bound: float | None = None) -> None: ...


def machine() -> str:
    """Processor, cores in use, system and interpreter."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2]
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


@pytest.fixture
def user() -> dict[str, str]:
    """The environment without the tests' one thread: the demo may use the whole machine."""
    return {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}


@pytest.fixture(scope="session")
def _figures() -> Iterator[list[str]]:
    lines: list[str] = []
    yield lines
    sys.stdout.write("\n".join(["", machine(), *lines, ""]))


@pytest.fixture
def note(_figures: list[str]) -> Note:
    """Notes a figure, then holds it to its bound."""

    def write(what: str, figure: float, unit: str, *, bound: float | None = None) -> None:
        limit = "" if bound is None else f"  (bound {bound:g} {unit})"
        _figures.append(f"{what:<58} {figure:10.2f} {unit}{limit}")
        assert bound is None or figure <= bound, f"{what}: {figure:.2f} {unit}, bound {bound:g}"

    return write
