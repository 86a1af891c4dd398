"""A Prefect server that a test may kill and start again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import unmeasured, until


def environment_of(home: Path, host: str = "127.0.0.1") -> dict[str, str]:
    """Of a server with a home of its own and of those whom it serves; the client gives up at once."""
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    return os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://{host}:{port}/api",
        "PREFECT_CLIENT_MAX_RETRIES": "1",
    }


@contextmanager
def server(environment: dict[str, str]) -> Iterator[None]:
    """A real server; at the end it is killed."""
    url = environment["PREFECT_API_URL"]
    host, _, port = url.removeprefix("http://").removesuffix("/api").partition(":")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", port]
    with subprocess.Popen(
        command,
        env=unmeasured(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            until(lambda: _answers(f"{url}/health"), beside=process)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
