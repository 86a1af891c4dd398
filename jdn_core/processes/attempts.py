"""How often a job is tried in new processes, and the reason that its failure is recorded with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from jdn_core.errors import JobFailed
from jdn_core.processes.child import MemoryShortage
from jdn_core.processes.children import ChildDied, ChildHung
from jdn_core.processes.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")
# Tries. A death may be chance (another process took the memory), a hang or a shortage hardly.
DEATHS, HANGS, OUT_OF_MEMORY = 5, 2, 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a job has no result, such as ``oom: peak 79.20 of 79.65 GiB``."""

    reason: str


def attempt(workers: Workers, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Failure:
    """Returns the job's result, tried again in a new process after a crash, a hang, or too little memory.

    A job that is tried again goes on from its checkpoint; after too little memory, alone on the device.

    Raises:
        UserError: whatever the job raised of it; another try would end alike.
    """
    deaths = hangs = shortages = 0
    while True:
        run = workers.run_alone if shortages else workers.run
        try:
            return run(job, *args, **kwargs)
        except ChildDied as error:
            deaths += 1
            logger.warning("%s: %s, try %d of %d", job.__name__, error, deaths, DEATHS)
            if deaths == DEATHS:
                return Failure(f"crash_loop: {error}")
        except ChildHung as error:
            hangs += 1
            logger.warning("%s: %s, try %d of %d", job.__name__, error, hangs, HANGS)
            if hangs == HANGS:
                return Failure(f"timeout: {error}")
        except MemoryShortage as error:
            shortages += 1
            logger.warning("%s: out of memory, %s", job.__name__, error)
            if shortages == OUT_OF_MEMORY:
                return Failure(f"oom: {error}")


def insist(workers: Workers, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns the result of a job that nothing can go on without, as ``attempt`` does.

    Raises:
        JobFailed: it has no result.
    """
    outcome = attempt(workers, job, *args, **kwargs)
    if isinstance(outcome, Failure):
        name = job.__name__.removeprefix("ensure_").replace("_", " ")
        raise JobFailed(f"{name} failed: {outcome.reason}")
    return outcome
