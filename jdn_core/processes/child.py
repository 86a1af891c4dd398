"""What runs in a child process: take a job, do it, answer, until the parent closes the channel."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import traceback
from multiprocessing.connection import Connection

import torch

from jdn_core.errors import UserError
from jdn_core.processes import stopping
from jdn_core.processes.devices import DeviceShare
from jdn_core.processes.messages import (
    Answer,
    Broken,
    Call,
    Done,
    Halted,
    LogLine,
    OutOfMemory,
    Refused,
    Step,
)
from jdn_core.processes.progress import listening

_NO_MEMORY = "DefaultCPUAllocator"  # torch raises a plain RuntimeError where the CPU has none left


class MemoryShortage(Exception):
    """A process below this one asked for more memory than there is: ``peak`` of ``limit`` bytes."""

    def __init__(self, peak: int, limit: int) -> None:
        super().__init__(f"peak {peak / 2**30:.2f} of {limit / 2**30:.2f} GiB")
        self.peak, self.limit = peak, limit


def serve(channel: Connection, share: DeviceShare) -> None:
    """Answers calls until the channel closes.

    A process that ran out of memory, met something unforeseen or was stopped is not used again: it ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody; the parent decides
    signal.signal(signal.SIGTERM, lambda number, _: stopping.request(number))
    os.environ.update(share.environment)
    if share.threads is not None:
        torch.set_num_threads(share.threads)
    _log_to(channel)
    with listening(lambda *step: _send(channel, Step(*step))):
        while True:
            try:
                call: Call = channel.recv()
            except EOFError:
                return
            answer = _answer(call)
            _free_memory()
            _send(channel, answer)
            if not isinstance(answer, Done | Refused):
                return


def _send(channel: Connection, message: Answer | Step | LogLine) -> None:
    """Sends a message; where the parent is gone, the job's next checkpoint is still worth having."""
    with contextlib.suppress(OSError):
        channel.send(message)


def _answer(call: Call) -> Answer:
    try:
        return Done(call.job(*call.arguments, **call.keywords or {}))
    except stopping.Stopped as stopped:
        return Halted(stopped.number)
    except UserError as error:
        return Refused(error)
    except MemoryShortage as error:
        return OutOfMemory(error.peak, error.limit, str(error))
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or _NO_MEMORY in text:
            return OutOfMemory(*_memory(), text)
        return Broken(text, traceback.format_exc())


def _free_memory() -> None:
    """Returns cached GPU memory to the device: another worker may wait for it, to be alone there."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _memory() -> tuple[int, int]:
    """Returns the most memory that was held and what there is, in bytes: of the GPU, or of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, limit


class _ToParent(logging.Handler):
    """Sends log records to the parent, which has the log file and Prefect's handler."""

    def __init__(self, channel: Connection) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        _send(self._channel, LogLine(record.name, record.levelno, record.getMessage()))


def _log_to(channel: Connection) -> None:
    logger = logging.getLogger("jdn_core")
    logger.handlers = [_ToParent(channel)]
    logger.setLevel(logging.INFO)
    logger.propagate = False  # or a root handler would print each line a second time
