"""Ends processes whose owner is gone, however it ended: also after a kill -9, and with all that they started.

A helper reads a pipe whose other end only the owner has. The kernel closes that end together with the owner,
and the helper then ends what it was told to guard. Linux's PR_SET_PDEATHSIG would need no helper, but it ends
a single process, spares the servers' children, and already acts when the *thread* that forked is over.

This file is also the helper's program, which starts in 30 ms because it imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Self


class OrphanGuard:
    """Guards processes of this one until ``close``; use it as a context manager.

    Args:
        grace: seconds between SIGTERM and SIGKILL. With 0 there is only SIGKILL, as processes need that share
            a folder with their successors.
    """

    def __init__(self, *, grace: float = 0.0) -> None:
        self._grace = grace
        self._helper: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._lock = threading.Lock()  # threads of the search start workers of their own

    def add(self, pid: int) -> None:
        """Guards a process, all below it, and its process group where it leads one."""
        with self._lock:
            if self._helper is None and not self._closed:
                self._helper = subprocess.Popen(
                    [sys.executable, "-P", __file__, str(self._grace)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=Path(__file__).anchor,
                    start_new_session=True,  # Ctrl-C on a terminal is for the owner alone
                )
            self._write(f"{pid}\n")

    def remove(self, pid: int) -> None:
        """Guards a process no longer, because it has ended: its number may soon be another's."""
        with self._lock:
            self._write(f"-{pid}\n")

    def close(self) -> None:
        """Guards nothing any more; what still runs is left alone."""
        with self._lock:
            self._closed = True
            helper, self._helper = self._helper, None
        if helper is not None:
            helper.kill()
            helper.communicate()

    def _write(self, line: str) -> None:
        if self._helper is not None and self._helper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # the helper was killed; the work goes on
                os.write(self._helper.stdin.fileno(), line.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _main(grace: float) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a signal to everybody at once must not end the guard first
    _trees(())  # imports psutil now: later, on a busy machine, orphans would run on for half a second
    guarded: set[int] = set()
    for line in sys.stdin:
        pid = int(line)
        guarded = guarded | {pid} if pid > 0 else guarded - {-pid}
    trees = _trees(guarded)
    if grace:
        _signal(guarded, trees, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while _signal((), trees, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
    _signal(guarded, dict.fromkeys([*trees, *_trees(guarded)]), signal.SIGKILL)


def _trees(pids: Collection[int]) -> list[int]:
    """Returns the processes and all below them, each before what it started.

    In this order nobody sees a child of its own die before its own signal is there, and takes that for the
    end of its work, or starts the child again.

    psutil comes with Prefect. A machine without it runs no servers, and what workers start guards itself.
    """
    found = list(pids)
    with contextlib.suppress(ImportError):
        import psutil

        for pid in pids:
            with contextlib.suppress(psutil.Error):
                found += [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return found


def _signal(leaders: Collection[int], pids: Collection[int], number: int) -> bool:
    """Sends a signal to groups, which may outlive their leaders, and to processes; says if one is there."""
    found = False
    for send, ids in ((os.killpg, leaders), (os.kill, pids)):
        for pid in ids:
            with contextlib.suppress(OSError):
                send(pid, number)
                found = True
    return found


if __name__ == "__main__":
    _main(float(sys.argv[1]))
