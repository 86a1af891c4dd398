"""A wish to stop, which a signal makes and long work grants between two steps; one for the whole process.

A signal's handler only calls ``request``. Training then saves a checkpoint after the step at hand, all other
loops end between two batches, and both raise ``Stopped``: nothing is redone.
"""

from __future__ import annotations

import signal

_wishes: list[int] = []


class Stopped(BaseException):
    """SIGTERM or Ctrl-C arrived; a BaseException, so that no handler of ordinary errors holds it up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def request(number: int = signal.SIGTERM) -> None:
    """Asks the process's work to stop; may be called in a signal's handler and in any thread."""
    _wishes.append(number)


def requested() -> int | None:
    """The number of the first signal that asked; none if nobody did."""
    return _wishes[0] if _wishes else None


def clear() -> None:
    """Forgets the wish, before other work."""
    _wishes.clear()


def check() -> None:
    """Raises ``Stopped`` if that is wished: for places where nothing has to be saved."""
    if _wishes:
        raise Stopped(_wishes[0])
