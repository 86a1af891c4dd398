"""A part in a process of its own: it may crash, hang or be killed, and the next part begins all the same.

Parts are forked from this process, which has torch imported, so that they begin at once. It computes nothing
itself: no part inherits a thread of torch or a context of CUDA.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from jdn_core.processes.orphans import OrphanGuard
from tests.gpu.findings import Findings, Result
from tests.gpu.scale import Scale

LEAST = 3.0  # seconds under which no part is begun


@dataclass(frozen=True)
class Setting:
    """What a part is given.

    Attributes:
        device: ``cuda`` or ``cpu``.
        scale: sizes.
        scratch: a folder of the part's own for what it trains.
        data: a dataset in COCO format, if there is one.
    """

    device: str
    scale: Scale
    scratch: Path
    data: Path | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


@dataclass(frozen=True)
class Part:
    """A piece of the check that is tried, timed and reported alone.

    Attributes:
        name: the group first, such as ``works.workers``.
        work: checks and measures; a function of a module, since another process imports it.
        seconds: after which it hangs for sure, on a machine that does all in ``check.MINUTES``.
        weight: its share of the time that is left, among the parts behind that only measure as it does.
    """

    name: str
    work: Callable[[Setting, Findings], None]
    seconds: float = 120.0
    weight: float = 1.0

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]

    @property
    def must_pass(self) -> bool:
        """Whether the whole check fails with it; the others only measure, as far as the time allows."""
        return self.group in ("machine", "right", "works")


def run(part: Part, setting: Setting, out: Path, *, deadline: float, share: float = 1.0) -> Result:
    """Runs a part until it ends, its limit is over, or its share of the time to the deadline is.

    Its output goes to ``out/NAME.log``, its result to ``out/NAME.json`` as well.
    """
    out.mkdir(parents=True, exist_ok=True)
    file, left = out / f"{part.name}.json", deadline - time.monotonic()
    if left < LEAST:
        result = Result(part.name, "not run", reason="no time was left")
        result.write(file)
        return result
    limit = min(part.seconds, share * left)
    setting.scratch.mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=_serve, args=(part, setting, file, limit), name=part.name
    )
    begun = time.monotonic()
    process.start()
    with OrphanGuard() as guard:
        guard.add(process.pid or 0)
        process.join(limit)
        is_late = process.is_alive()
        _end_group(process)
    result = _result_of(part, file, process, seconds=time.monotonic() - begun, limit=limit, is_late=is_late)
    result.write(file)
    return result


def _serve(part: Part, setting: Setting, file: Path, limit: float) -> None:
    """Runs in the part's process."""
    os.setsid()  # a group of its own, so that all it starts can be ended with it
    log = os.open(file.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    faulthandler.enable()
    # Just before it is ended, it says where it is.
    faulthandler.dump_traceback_later(max(1.0, limit - 1))
    findings = Findings(part.name, file, limit=limit)
    with findings.surviving("the part itself"):
        part.work(setting, findings)
    faulthandler.cancel_dump_traceback_later()
    findings.end()


def _end_group(process: BaseProcess) -> None:
    """Ends the part and whatever it started, also where it ended by itself and left something behind."""
    if process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # nothing is left, or it died before it had a group
            process.kill()
    process.join()


def _result_of(
    part: Part, file: Path, process: BaseProcess, *, seconds: float, limit: float, is_late: bool
) -> Result:
    """Returns the part's own result, or what became of it with the items that it had written."""
    found = Result.read(file) if file.is_file() else Result(part.name, "running")
    found = replace(found, seconds=seconds, limit=limit)
    if found.state != "running":
        return found
    last = f"after {found.items[-1].name}" if found.items else "before its first item"
    if is_late:
        return replace(found, state="out of time", reason=f"not done in {limit:.0f} s, ended {last}")
    code = process.exitcode or 0
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    return replace(found, state="crashed", reason=f"{how} {last}")
