"""The tiers of the tests: what is run before every commit, and what CI adds.

A test without a tier's marker is in the fast tier. The others cost minutes: servers of Prefect, MLflow and
PostgreSQL (``services``), the crash matrix (``crash``), a browser (``browser``), what takes long without a
server (``slow``). A test has one of these markers at the most, so it is in exactly one tier.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# In the order in which they start. What computes for long does so first, in a process where no server's
# client has run yet: CI once lost a process to an abort in torch's backward after Prefect's client had run in
# it, and alone the test never aborted. Then come the longest files, or they would be last and beside nothing.
TIERS = ("slow", "browser", "crash", "services")
_SERVER_FIXTURE = "prefect_server"
_EMBEDDED = "PREFECT_SERVER_EPHEMERAL_ENABLED"
_SERVER = re.compile(
    r"mlflow\W+(server|ui)\b|prefect\W+(server|worker)\W+start|prefect\.server|uvicorn|gunicorn"
    r"|(jdn|flows\.cli\.main)\W+ui\b|initdb|chromium"
)
_refusing: list[str] = []  # names of the tests of the fast tier that run now


def tiers_of(item: pytest.Item) -> list[str]:
    """Names of the tiers whose markers a test has; empty for the fast tier."""
    return [tier for tier in TIERS if item.get_closest_marker(tier)]


def sort_into_tiers(items: list[pytest.Item]) -> None:
    """Marks tests that ask for Prefect's server, and puts those of slow tiers first; the order is else kept.

    Raises:
        pytest.UsageError: a test has the markers of two tiers.
    """
    for item in items:
        if _SERVER_FIXTURE in getattr(item, "fixturenames", ()):
            item.add_marker("services")
    doubled = [item.nodeid for item in items if len(tiers_of(item)) > 1]
    if doubled:
        raise pytest.UsageError(f"tests in two tiers: {', '.join(doubled[:10])}")
    files: dict[
        Any, int
    ] = {}  # of a file with tests of several tiers the first decides, so it stays in one piece
    for item in items:
        files[item.path] = min(files.get(item.path, len(TIERS)), _rank(tiers_of(item)))
    items.sort(key=lambda item: files[item.path])


def _rank(tiers: Iterable[str]) -> int:
    return min(map(TIERS.index, tiers), default=len(TIERS))


@contextmanager
def without_servers(test: str) -> Iterator[None]:
    """A block in which this process cannot start a server, nor can a command that it runs embed Prefect's."""
    _refusing.append(test)
    before = os.environ.get(_EMBEDDED)
    os.environ[_EMBEDDED] = "false"
    try:
        yield
    finally:
        _refusing.remove(test)
        os.environ.pop(_EMBEDDED)
        if before is not None:
            os.environ[_EMBEDDED] = before


def _refuse_servers(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook of the interpreter: it sees every process that Python starts, whoever asks for it."""
    if event != "subprocess.Popen" or not _refusing:
        return
    words = arguments[1]
    line = words if isinstance(words, str) else " ".join(map(str, words))
    if _SERVER.search(line):
        raise RuntimeError(f"{_refusing[-1]} is in the fast tier and starts a server: {line[:200]}")


sys.addaudithook(_refuse_servers)
