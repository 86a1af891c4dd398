"""The protocol between a process and its children, workers and ranks alike; plain values that pickle by name.

The parent sends a ``Call``. The child sends any number of ``Step`` and ``LogLine``, then one ``Answer``. A
request to stop is no message but SIGTERM, because a job reads no messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jdn_core.errors import UserError


@dataclass(frozen=True)
class Call:
    """A job: a function of a module, and its arguments."""

    job: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Step:
    """A sign of life: how far a stage is (``jdn_core.processes.progress``)."""

    stage: str
    done: int
    total: int
    note: str


@dataclass(frozen=True)
class LogLine:
    """A line for the log of the parent."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True)
class Done:
    """The job's result."""

    value: Any


@dataclass(frozen=True)
class Refused:
    """The job ended with an error that the user can mend."""

    error: UserError


@dataclass(frozen=True)
class OutOfMemory:
    """The device, or the machine, has less memory than the job asked for; both in bytes."""

    peak: int
    limit: int
    text: str


@dataclass(frozen=True)
class Broken:
    """The job met an unforeseen error.

    Attributes:
        text: its last line.
        traceback: all of it.
    """

    text: str
    traceback: str


@dataclass(frozen=True)
class Halted:
    """The job was asked to stop by a signal of this number, and its state is on the disk."""

    number: int


Answer = Done | Refused | OutOfMemory | Broken | Halted
