"""A pool of warm child processes: lease one, give it a job, replace it where it ended badly."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from jdn_core.processes.children import Child, ChildDied, Patience, value_of
from jdn_core.processes.devices import DeviceShare
from jdn_core.processes.fork_server import prepare
from jdn_core.processes.messages import Call
from jdn_core.processes.orphans import OrphanGuard
from jdn_core.processes.stopping import Stopped

P = ParamSpec("P")
T = TypeVar("T")
GRACE = 10.0  # seconds for a checkpoint at the next step after SIGTERM


@dataclass(eq=False)
class _Slot:
    """A share of the machine and the process that has it; the process starts with the first job."""

    share: DeviceShare
    child: Child | None = None


class Workers:
    """As many warm processes as there are shares; use it as a context manager.

    Args:
        shares: one per worker.
        patience: after which a silent worker is killed.
    """

    def __init__(self, shares: Sequence[DeviceShare], *, patience: Patience | None = None) -> None:
        if not shares:
            raise ValueError("workers need one share at least")
        self._patience = patience or Patience()
        self._guard = OrphanGuard()  # no grace: a resumed search writes into the same folder at once
        self._slots = tuple(map(_Slot, shares))
        self._idle = list(self._slots)
        self._reserved: dict[str, int] = {}  # device -> how many wait to have it, or have it, alone
        self._changed = threading.Condition()
        self._closing = False

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def pids(self) -> tuple[int, ...]:
        """Returns the ids of the processes that run now."""
        return tuple(slot.child.pid for slot in self._slots if slot.child and slot.child.is_alive())

    def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns the result of a job, done by whichever worker is free first; waits for both.

        Raises:
            UserError: whatever the job raised of it.
            ChildDied, ChildHung, MemoryShortage: what became of the process; a new one takes its place.
            Stopped: the workers are being stopped.
        """
        result: T = self._run(Call(job, args, kwargs), alone=False)
        return result

    def run_alone(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a job while no other worker computes on the same device."""
        result: T = self._run(Call(job, args, kwargs), alone=True)
        return result

    def stop(self, grace: float = GRACE) -> None:
        """Asks every job to save its state at the next step; kills what is left after ``grace`` seconds."""
        deadline = time.monotonic() + grace
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            children = [slot.child for slot in self._slots if slot.child]
            for child in children:
                child.ask_to_stop()
            for slot in self._idle:  # the channels of the others are being read
                if slot.child:
                    slot.child.close()
        for child in children:
            child.end(within=deadline - time.monotonic())
        self._guard.close()

    def __enter__(self) -> Self:
        prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, call: Call, *, alone: bool) -> Any:
        with self._lease(alone=alone) as slot:
            child = self._child(slot)
            try:
                answer = child.answer(call, self._patience)
            except ChildDied:
                if self._closing:
                    raise Stopped(signal.SIGTERM) from None
                raise
        return value_of(answer)

    def _child(self, slot: _Slot) -> Child:
        """Returns the slot's process, which is started if there is none."""
        if slot.child is None or not slot.child.is_usable():
            if slot.child is not None:
                slot.child.end(within=1.0)  # its memory is free before the next one takes some
            child = Child(slot.share, guard=self._guard)
            with self._changed:
                slot.child = child
                if self._closing:  # the others were stopped while this one started
                    raise Stopped(signal.SIGTERM)
        return slot.child

    @contextmanager
    def _lease(self, *, alone: bool) -> Iterator[_Slot]:
        """Lends a free slot; with ``alone`` one whose device no other worker uses until it is given back."""
        slot = self._take(alone=alone)
        try:
            yield slot
        except BaseException:
            if slot.child is not None:
                slot.child.kill()
            raise
        finally:
            with self._changed:
                if alone:
                    self._reserved[slot.share.device] -= 1
                self._idle.append(slot)
                self._changed.notify_all()

    def _take(self, *, alone: bool) -> _Slot:
        with self._changed:
            # Any device will do; the first is taken, so that two that want to be alone wait for each other.
            device = self._slots[0].share.device
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
        return next((slot for slot in self._idle if not self._reserved.get(slot.share.device)), None)

    def _free_alone(self, device: str) -> _Slot | None:
        there = [slot for slot in self._slots if slot.share.device == device]
        return there[0] if all(slot in self._idle for slot in there) else None
