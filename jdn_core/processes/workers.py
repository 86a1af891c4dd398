"""The search's side of its workers: lease one, give it a job, watch it, replace it where it ended badly.

Workers are forked from a fork server that has torch imported and no thread, GPU context or lock of the
search's process; a worker is there in a fraction of a second, also in the place of one that died.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from jdn_core.processes import progress
from jdn_core.processes.messages import Answer, Broken, Call, Done, Halted, OutOfMemory, Refused, Said, Step
from jdn_core.processes.places import Place
from jdn_core.processes.stopping import Stopped

P = ParamSpec("P")
T = TypeVar("T")
_REMEMBERED = 101  # gaps between signs of life whose median is what a step takes
GRACE = 10.0  # seconds for a checkpoint at the next step after SIGTERM


class WorkerDied(Exception):
    """The process ended, or met something unforeseen, before it answered."""


class WorkerHung(Exception):
    """The process gave no sign of life for too long, and was killed."""


class WorkerOutOfMemory(Exception):
    """The job asked for more memory than there is."""


@dataclass(frozen=True)
class Patience:
    """How long a worker may be silent: ``medians`` times what its steps take, ``seconds`` at the least."""

    medians: float = 100.0
    seconds: float = 600.0


@dataclass(eq=False)
class _Slot:
    """A place and the process that serves there; the process comes with the first job."""

    place: Place
    process: BaseProcess | None = None
    channel: Connection | None = None
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


def prepare() -> None:
    """Starts the fork server, which then imports torch beside whatever comes next; call it early."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["jdn_core.run.preload"])
    forkserver.ensure_running()


class Workers:
    """So many warm processes as there are places; use it as a context manager.

    Args:
        places: one per worker.
        patience: of the watchdog.
    """

    def __init__(self, places: Sequence[Place], *, patience: Patience | None = None) -> None:
        if not places:
            raise ValueError("workers need one place at least")
        self._patience = patience or Patience()
        self._slots = tuple(_Slot(place) for place in places)
        self._idle = list(self._slots)
        self._reserved: dict[str, int] = {}  # device -> how many wait to have it, or have it, alone
        self._changed = threading.Condition()
        self._closing = False

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that are there now."""
        return tuple(
            slot.process.pid or 0 for slot in self._slots if slot.process and slot.process.is_alive()
        )

    def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a job, done by whichever worker is free first; waits for both.

        Raises:
            UserError: whatever the job raised of it.
            WorkerDied, WorkerHung, WorkerOutOfMemory: what became of the process; a new one takes its place.
            Stopped: the workers are being stopped.
        """
        result: T = self._run(Call(job, args, kwargs), alone=False)
        return result

    def run_alone(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``run`` while no other worker computes on the same device."""
        result: T = self._run(Call(job, args, kwargs), alone=True)
        return result

    def stop(self, grace: float = GRACE) -> None:
        """Asks every job to save its state at the next step; kills what is left after ``grace`` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        deadline = time.monotonic() + grace
        living = [slot.process for slot in self._slots if slot.process]
        for process in living:
            process.terminate()
        for slot in self._idle:
            _close(slot)
        for process in living:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def __enter__(self) -> Self:
        prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, call: Call, *, alone: bool) -> Any:
        with self._lease(alone=alone) as slot:
            channel = self._channel(slot)
            try:
                channel.send(call)
                answer = self._await(slot, channel)
            except (EOFError, ConnectionError, BrokenPipeError):
                raise self._ended(slot) from None
        return _result(answer)

    def _channel(self, slot: _Slot) -> Connection:
        """To the slot's process, which is started if there is none."""
        if slot.channel is not None and slot.process is not None and slot.process.is_alive():
            return slot.channel
        _close(slot)
        try:
            process, channel = _start(slot.place)
        except (EOFError, OSError) as error:
            raise WorkerDied(f"the worker did not start: {error!r}") from error
        with self._changed:
            slot.process, slot.channel = process, channel
            slot.gaps.clear()
            if self._closing:  # the others were stopped meanwhile
                _kill(slot)
                raise Stopped(signal.SIGTERM)
        return channel

    def _await(self, slot: _Slot, channel: Connection) -> Answer:
        """The job's answer; on the way its signs of life and its log are passed on."""
        begun = time.monotonic()
        while True:
            limit = self._limit(slot)
            if not channel.poll(limit):
                _kill(slot)
                median = f" (a step takes {statistics.median(slot.gaps):.2f} s)" if slot.gaps else ""
                raise WorkerHung(f"no step for {limit:.0f} s{median}")
            message = channel.recv()
            if isinstance(message, Step):
                now = time.monotonic()
                slot.gaps.append(now - begun)
                begun = now
                progress.report(message.stage, message.done, message.total, message.note)
            elif isinstance(message, Said):
                logging.getLogger(message.logger).log(message.level, "%s", message.text)
            else:
                if not isinstance(message, Done | Refused):
                    _close(slot)
                answer: Answer = message
                return answer

    def _limit(self, slot: _Slot) -> float:
        if not slot.gaps:
            return self._patience.seconds
        return max(self._patience.seconds, self._patience.medians * statistics.median(slot.gaps))

    @contextmanager
    def _lease(self, *, alone: bool) -> Iterator[_Slot]:
        """A free slot; with ``alone`` one whose device nobody else uses until it is given back."""
        slot = self._take(alone=alone)
        try:
            yield slot
        except Exception:
            _kill(slot)  # whatever the process is doing, nobody waits for its answer any more
            raise
        finally:
            with self._changed:
                if alone:
                    self._reserved[slot.place.device] -= 1
                self._idle.append(slot)
                self._changed.notify_all()

    def _take(self, *, alone: bool) -> _Slot:
        with self._changed:
            device = self._slots[0].place.device
            if alone:
                self._reserved[device] = self._reserved.get(device, 0) + 1
            try:
                while True:
                    if self._closing:
                        raise Stopped(signal.SIGTERM)
                    slot = self._free_alone(device) if alone else self._free()
                    if slot is not None:
                        self._idle.remove(slot)
                        return slot
                    self._changed.wait()
            except BaseException:
                if alone:
                    self._reserved[device] -= 1
                raise

    def _free(self) -> _Slot | None:
        return next((slot for slot in self._idle if not self._reserved.get(slot.place.device)), None)

    def _free_alone(self, device: str) -> _Slot | None:
        there = [slot for slot in self._slots if slot.place.device == device]
        return there[0] if all(slot in self._idle for slot in there) else None

    def _ended(self, slot: _Slot) -> BaseException:
        """What to raise of a process that is gone."""
        process = slot.process
        if process is not None:
            process.join(1.0)
        code = process.exitcode if process else None
        _close(slot)
        if self._closing:
            return Stopped(signal.SIGTERM)
        how = f"signal {-code} ({signal.Signals(-code).name})" if code and code < 0 else f"status {code}"
        return WorkerDied(f"the worker ended with {how}")


def _start(place: Place) -> tuple[BaseProcess, Connection]:
    from jdn_core.processes.child import serve

    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, place), name="jdn-worker")
    process.start()
    theirs.close()
    return process, ours


def _close(slot: _Slot) -> None:
    if slot.channel is not None:
        slot.channel.close()
        slot.channel = None


def _kill(slot: _Slot) -> None:
    if slot.process is not None:
        slot.process.kill()
        slot.process.join()
    _close(slot)


def _result(answer: Answer) -> Any:
    match answer:
        case Done(value):
            return value
        case Refused(error):
            raise error
        case OutOfMemory(peak, limit, text):
            logging.getLogger(__name__).warning("%s", text)
            raise WorkerOutOfMemory(f"peak {peak / 2**30:.2f} of {limit / 2**30:.2f} GiB")
        case Broken(text, trace):
            logging.getLogger(__name__).error("%s", trace)
            raise WorkerDied(text)
        case Halted():
            raise Stopped(signal.SIGTERM)
