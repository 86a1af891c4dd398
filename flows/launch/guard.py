"""Processes that this one started, such as Prefect's embedded server, end with it, however it ends."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# The shell's standard input is a pipe from us: it reads to its end when we are gone, even after a kill -9.
_WATCH = 'read -r done; [ "$done" = done ] || kill "$@" 2>/dev/null'


@contextmanager
def guarded(pids: Sequence[int]) -> Iterator[None]:
    """While the block runs, a shell watches this process and ends the given ones if it is killed.

    Without it a killed run leaves a server behind, with 200 MB of memory and a hold on Prefect's database.
    """
    if not pids:
        yield
        return
    command = ["sh", "-c", _WATCH, "sh", *map(str, pids)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True) as watch:
        try:
            yield
        finally:
            watch.communicate("done\n")


def embedded_servers() -> list[int]:
    """Inside a flow: ids of the processes of Prefect's embedded server; none where one was configured."""
    from prefect.server.api.server import SubprocessASGIServer

    servers = SubprocessASGIServer._instances.values()
    return [server.server_process.pid for server in servers if server.server_process]
