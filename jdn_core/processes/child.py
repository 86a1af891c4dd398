"""Inside a worker: take a job, do it, answer; end with the search's process, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
import traceback
from multiprocessing.connection import Connection

import torch

from jdn_core.errors import UserError
from jdn_core.processes import stopping
from jdn_core.processes.messages import Answer, Broken, Call, Done, Halted, OutOfMemory, Refused, Said, Step
from jdn_core.processes.places import Place
from jdn_core.processes.progress import listening

_PR_SET_PDEATHSIG = 1
_NO_MEMORY = "DefaultCPUAllocator"  # torch raises a plain RuntimeError where the CPU has none left


def serve(channel: Connection, place: Place) -> None:
    """Answers calls until the channel closes.

    A process that ran out of memory, met something unforeseen or was stopped is not used again: it ends.
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: stopping.request())
    os.environ.update(place.environment)
    if place.threads is not None:
        torch.set_num_threads(place.threads)
    _log_to(channel)
    with listening(lambda *step: _tell(channel, Step(*step))):
        while True:
            try:
                call: Call = channel.recv()
            except EOFError:
                return
            answer = _answer(call)
            _tell(channel, answer)
            if not isinstance(answer, Done | Refused):
                return


def die_with_parent() -> None:
    """Lets Linux end this process together with the one that started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _tell(channel: Connection, message: Answer | Step | Said) -> None:
    """Sends a message; where nobody listens any more, the job's next checkpoint is still worth having."""
    with contextlib.suppress(OSError):
        channel.send(message)


def _answer(call: Call) -> Answer:
    try:
        return Done(call.job(*call.arguments, **call.keywords))
    except stopping.Stopped:
        return Halted()
    except UserError as error:
        return Refused(error)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or _NO_MEMORY in text:
            return OutOfMemory(*_memory(), text)
        return Broken(text, traceback.format_exc())


def _memory() -> tuple[int, int]:
    """Most memory that was held and memory that there is, in bytes: of the GPU, or of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, limit


class _ToParent(logging.Handler):
    """Our own loggers speak in the search's process, where the log file and Prefect listen."""

    def __init__(self, channel: Connection) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        _tell(self._channel, Said(record.name, record.levelno, record.getMessage()))


def _log_to(channel: Connection) -> None:
    logger = logging.getLogger("jdn_core")
    logger.handlers = [_ToParent(channel)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
