"""A killed run leaves no server behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

_CHILD = """
import sys
from flows.launch.guard import guarded
with guarded([int(sys.argv[1])]):
    print("guarded", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def server() -> subprocess.Popen[bytes]:
    """Something that would run on for a minute."""
    return subprocess.Popen(["sleep", "60"])


def run_beside(server: subprocess.Popen[bytes]) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(server.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "guarded\n"
    return child


def test_a_kill_of_the_run_ends_its_server(server: subprocess.Popen[bytes]) -> None:
    with run_beside(server) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert server.wait(timeout=20) == -signal.SIGTERM


def test_a_run_that_ends_by_itself_leaves_the_server_to_prefect(server: subprocess.Popen[bytes]) -> None:
    with run_beside(server) as child:
        child.communicate("")
        assert child.returncode == 0
        assert server.poll() is None
    server.kill()
    server.wait()
