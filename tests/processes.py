"""Other processes as a test sees them: waiting for what they do, their state, what runs below them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_COVERAGE = "COVERAGE_PROCESS_"  # variables that let coverage follow into a child
PATIENCE = 300.0  # seconds that one step may take beside other tests on two cores


def until(
    found: Callable[[], T | None],
    *,
    patience: float = PATIENCE,
    beside: subprocess.Popen[Any] | None = None,
    log: Path | None = None,
) -> T:
    """Asks until there is an answer; so no test depends on how fast a machine is.

    Args:
        found: what is asked; its answer counts if it is true.
        patience: seconds until the test fails.
        beside: a process whose end fails the test at once.
        log: a file whose last lines explain a failure.
    """
    deadline = time.monotonic() + patience
    while not (answer := found()):
        assert beside is None or beside.poll() is None, f"{beside} ended: {_last_words(log)}"
        assert time.monotonic() < deadline, f"{found} found nothing in {patience} s: {_last_words(log)}"
        time.sleep(0.05)
    return answer


def unmeasured(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For processes whose lines nobody counts, such as servers: counting takes a third of their time."""
    return {name: value for name, value in environment.items() if not name.startswith(_COVERAGE)}


@contextmanager
def measuring_nothing() -> Iterator[None]:
    """What is started in this block is not measured, whoever starts it."""
    taken = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(_COVERAGE)}
    try:
        yield
    finally:
        os.environ.update(taken)


def descendants(pid: int) -> list[int]:
    """A process and all below it, the lowest last."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        below = children.read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(each for child in below for each in descendants(int(child)))]


def with_variable(name: str, value: str) -> list[int]:
    """Processes that have this in their environment."""
    wanted = f"{name}={value}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or is not ours
            continue
        if wanted in environment:
            found.append(int(folder.name))
    return found


def lives(pid: int) -> bool:
    return _status(pid).get("State", "Z")[0] not in "ZX"


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP holds it."""
    return _status(pid).get("State", "Z")[0] == "T"


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal waits for a process that is stopped."""
    return bool(int(_status(pid).get("ShdPnd", "0"), 16) >> (number - 1) & 1)


def _last_words(log: Path | None) -> str:
    return log.read_text()[-5000:] if log else ""


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
