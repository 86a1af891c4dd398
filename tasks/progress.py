"""Who hears how far a task is: the command line listens, the tasks tell; without a listener nothing is said.

One listener a process, not one a thread: Prefect runs submitted tasks in threads of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Listener = Callable[[str, int, int, str], None]
_listeners: list[Listener] = []


def tell(stage: str, done: int, total: int, note: str = "") -> None:
    """One step of a stage: ``done`` of ``total`` iterations, images or pairs, and a few words about the newest."""
    for listener in _listeners[-1:]:
        listener(stage, done, total, note)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Sends what is told to ``listener`` until the end of the block; the innermost block hears it."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
