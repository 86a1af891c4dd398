"""Child processes seen from their parent: started, given jobs, watched, ended. Workers and ranks are both."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import statistics
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from jdn_core.processes import progress
from jdn_core.processes.child import MemoryShortage, serve
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
from jdn_core.processes.orphans import OrphanGuard
from jdn_core.processes.stopping import Stopped

_REMEMBERED = 101  # gaps between signs of life whose median is what a step takes

logger = logging.getLogger(__name__)


class ChildDied(Exception):
    """The process ended, or met something unforeseen, before it answered.

    Attributes:
        code: its exit status, negative for a signal; none where it did not start, or answered why.
    """

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class ChildHung(Exception):
    """The process gave no sign of life for too long, and was killed."""


@dataclass(frozen=True)
class Patience:
    """How long a child may be silent: ``medians`` times what its steps take, ``seconds`` at the least."""

    medians: float = 100.0
    seconds: float = 600.0


class Child:
    """A process that does one job after the other, and the channel to it.

    Args:
        share: what it computes with.
        guard: ends it when this process is gone.
        reports: whether its steps are reported here too.

    Raises:
        ChildDied: it did not start.
    """

    def __init__(self, share: DeviceShare, *, guard: OrphanGuard, reports: bool = True) -> None:
        context = multiprocessing.get_context("forkserver")
        self.channel, theirs = context.Pipe()
        self._guard, self._reports = guard, reports
        self._process = context.Process(target=serve, args=(theirs, share), name="jdn-worker")
        self._gaps: deque[float] = deque(maxlen=_REMEMBERED)
        self._signed = time.monotonic()
        try:
            self._process.start()
        except (EOFError, OSError) as error:
            self.channel.close()
            raise ChildDied(f"the worker did not start: {error!r}") from error
        finally:
            theirs.close()
        # A parent that is killed before this line leaves an idle child, which ends with its channel.
        guard.add(self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def is_usable(self) -> bool:
        """Says whether it can be given another job."""
        return not self.channel.closed and self.is_alive()

    def send(self, call: Call) -> None:
        """Gives it a job.

        Raises:
            ChildDied: it is gone.
        """
        self._signed = time.monotonic()
        try:
            self.channel.send(call)
        except OSError:
            raise self._death() from None

    def receive(self) -> Answer | None:
        """Takes one message: an answer is returned, a step is reported and a line logged.

        Raises:
            ChildDied: it is gone.
        """
        try:
            message = self.channel.recv()
        except (EOFError, OSError):
            raise self._death() from None
        match message:
            case Step(stage, done, total, note):
                now = time.monotonic()
                self._gaps.append(now - self._signed)
                self._signed = now
                if self._reports:
                    progress.report(stage, done, total, note)
                return None
            case LogLine(name, level, text):
                logging.getLogger(name).log(level, "%s", text)
                return None
        answer: Answer = message
        if not isinstance(answer, Done | Refused):
            self.close()  # it ends now, by the rule in ``child.serve``
        return answer

    def answer(self, call: Call, patience: Patience) -> Answer:
        """Gives it a job and waits for the answer.

        Raises:
            ChildDied: it is gone.
            ChildHung: it was silent for too long.
        """
        self.send(call)
        while True:
            limit = patience.seconds
            if self._gaps:
                limit = max(limit, patience.medians * statistics.median(self._gaps))
            if not self.channel.poll(limit):
                self.kill()
                median = f" (a step takes {statistics.median(self._gaps):.2f} s)" if self._gaps else ""
                raise ChildHung(f"no step for {limit:.0f} s{median}")
            if (answer := self.receive()) is not None:
                return answer

    def ask_to_stop(self) -> None:
        """Lets its job save its state at the next step and end."""
        self._process.terminate()

    def close(self) -> None:
        """Closes the channel, by which a child without a job ends."""
        self.channel.close()

    def end(self, within: float) -> None:
        """Waits for its end, and kills it after so many seconds; any thread may call it."""
        self._process.join(max(0.0, within))
        if self.is_alive():
            self._process.kill()
            self._process.join()
        self._guard.remove(self.pid)

    def kill(self) -> None:
        """Ends it at once, in the middle of a job too."""
        self._process.kill()
        self.end(within=0.0)
        self.close()

    def _death(self) -> ChildDied:
        self._process.join(1.0)
        code = self._process.exitcode
        self.kill()
        how = f"signal {-code} ({signal.Signals(-code).name})" if code and code < 0 else f"status {code}"
        return ChildDied(f"the worker ended with {how}", code)


def value_of(answer: Answer) -> Any:
    """Returns what a job gave.

    Raises:
        UserError: the job raised it.
        ChildDied: it met something unforeseen; the traceback is in the log.
        MemoryShortage: it asked for more memory than there is.
        Stopped: it was asked to stop.
    """
    match answer:
        case Done(value):
            return value
        case Refused(error):
            raise error
        case OutOfMemory(peak, limit, text):
            logger.warning("%s", text)
            raise MemoryShortage(peak, limit)
        case Broken(text, trace):
            logger.error("%s", trace)
            raise ChildDied(text)
        case Halted(number):
            raise Stopped(number)
