"""Prefect's embedded server ends with the run that started it, also when the run is killed.

Without this a killed run leaves a server behind, with 200 MB of memory and a lock on Prefect's database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jdn_core.processes.orphans import OrphanGuard

_GRACE = 5.0  # seconds in which the server closes its database


@contextmanager
def guarded_server() -> Iterator[None]:
    """Guards the embedded server, if there is one, while the block runs; after it Prefect ends it itself."""
    from prefect.server.api.server import SubprocessASGIServer  # late: this is Prefect's whole server

    with OrphanGuard(grace=_GRACE) as guard:
        for server in SubprocessASGIServer._instances.values():
            if server.server_process:
                guard.add(server.server_process.pid)
        yield
