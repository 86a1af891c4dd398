"""Progress of long work: it is reported here, and listeners such as the terminal's bar receive it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, int, int, str], None]

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Sends every report of this process to ``listener(stage, done, total, note)`` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def report(stage: str, done: int, total: int, note: str = "") -> None:
    """Reports that ``done`` of ``total`` parts of a stage are finished, to all listeners."""
    for listener in _listeners:
        listener(stage, done, total, note)
