"""A request to stop, which a signal makes and long work obeys between two steps; one for the whole process.

A signal's handler only calls ``request``. Training then saves a checkpoint after the step at hand, all other
loops end between two batches, and both raise ``Stopped``: nothing is redone.
"""

from __future__ import annotations

import signal

_requests: list[int] = []


class Stopped(BaseException):
    """SIGTERM or Ctrl-C arrived; a BaseException, so that no handler of ordinary errors holds it up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def request(number: int = signal.SIGTERM) -> None:
    """Asks the process's work to stop; may be called in a signal's handler and in any thread."""
    _requests.append(number)  # no lock: a handler may run in the middle of anything, and append is atomic


def requested() -> int | None:
    """Returns the number of the first signal that asked; none if there was none."""
    return _requests[0] if _requests else None


def clear() -> None:
    """Forgets the request, before other work."""
    _requests.clear()


def check() -> None:
    """Raises ``Stopped`` if that was requested: for places where nothing has to be saved."""
    if _requests:
        raise Stopped(_requests[0])
