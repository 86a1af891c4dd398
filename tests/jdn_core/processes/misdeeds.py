"""Jobs that a worker process can meet, good and bad; importable by name, as jobs must be."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import torch

from jdn_core.errors import Diverged
from jdn_core.processes import progress, stopping


def pid() -> int:
    return os.getpid()


def threads_and(variable: str) -> tuple[int, str | None]:
    return torch.get_num_threads(), os.environ.get(variable)


def tell(steps: int) -> int:
    """Reports its steps, logs a line, gives what it counted."""
    for step in range(steps):
        progress.report("counting", step + 1, steps, "note")
    logging.getLogger("jdn_core.counting").warning("counted to %d", steps)
    return steps


def diverge() -> None:
    raise Diverged("pair 3", epoch=1, step=16, rate=0.01, last_finite=3.2)


def want_too_much(tries: Path) -> str:
    """Asks the CPU for a pebibyte at the first try, and for a byte at the second."""
    size = 1 if _count(tries) > 1 else 2**50
    return f"{torch.empty(size, dtype=torch.uint8).numel()} byte"


def end_by(number: int, tries: Path, *, times: int) -> int:
    """Is killed by a signal the first ``times`` times, then gives the number of the try."""
    attempt = _count(tries)
    if attempt <= times:
        os.kill(os.getpid(), number)
    return attempt


def break_down() -> None:
    raise RuntimeError("CUDA error: device-side assert triggered")


def fall_silent(tries: Path, *, times: int) -> int:
    """Takes ten quick steps, then never another one, the first ``times`` times."""
    attempt = _count(tries)
    for step in range(10):
        progress.report("silent", step, 10)
    while attempt <= times:
        signal.pause()
    return attempt


def step_until_stopped(saved: Path) -> None:
    """Works in steps, and saves where it is when it is asked to stop."""
    step = 0
    while True:
        progress.report("stepping", step, 10**9)
        step += 1
        if stopping.requested():
            saved.write_text(str(step))
            stopping.check()
        time.sleep(0.01)


def meet(folder: Path, *, others: int) -> bool:
    """Whether so many others come to the folder within two seconds."""
    (folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if len(list(folder.iterdir())) > others:
            return True
        time.sleep(0.01)
    return False


def _count(tries: Path) -> int:
    """How often this was tried, this time included; kept in a file because the process may not live."""
    with tries.open("ab") as file:
        file.write(b".")
    return tries.stat().st_size
