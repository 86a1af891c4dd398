"""A killed process leaves nothing behind of what it had guarded."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jdn_core.processes.orphans import OrphanGuard
from tests.processes import descendants, lives, until

OWNER = """
import sys
from jdn_core.processes.orphans import OrphanGuard
with OrphanGuard(grace=float(sys.argv[1])) as guard:
    for pid in sys.argv[2:]:
        guard.add(int(pid))
    print("guarded", flush=True)
    sys.stdin.read()
"""
STUBBORN = 'trap "" TERM; sleep 60 & wait; sleep 60'


@contextmanager
def owner_of(*guarded: int, grace: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OWNER, str(grace), *map(str, guarded)]
    root, pipe = Path(__file__).parents[3], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "guarded\n"
        yield owner


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """Something that would run on for a minute, with a child."""
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as process:
        until(lambda: len(descendants(process.pid)) == 2)
        yield process
        process.kill()


@pytest.mark.parametrize(("grace", "number"), [(0.0, signal.SIGKILL), (5.0, signal.SIGTERM)])
def test_a_kill_of_the_owner_ends_the_whole_tree(
    server: subprocess.Popen[bytes], grace: float, number: signal.Signals
) -> None:
    tree = descendants(server.pid)
    with owner_of(server.pid, grace=grace) as owner:
        owner.kill()
        assert server.wait(timeout=20) == -number
    until(lambda: not any(map(lives, tree)), patience=20)


def test_what_ignores_sigterm_is_killed() -> None:
    with subprocess.Popen(["sh", "-c", STUBBORN]) as stubborn:
        until(lambda: len(descendants(stubborn.pid)) == 2)
        with owner_of(stubborn.pid, grace=0.2) as owner:
            owner.kill()
            assert stubborn.wait(timeout=20) == -signal.SIGKILL


def test_what_is_left_of_a_guarded_group_ends_although_its_leader_has() -> None:
    leader = subprocess.Popen(
        ["sh", "-c", "sleep 60 >&- & echo $!"], stdout=subprocess.PIPE, text=True, process_group=0
    )
    with leader, owner_of(leader.pid, grace=0.0) as owner:
        left = int(leader.communicate()[0])
        assert lives(left)
        owner.kill()
        until(lambda: not lives(left), patience=20)


def test_an_owner_that_ends_by_itself_leaves_them_alone(server: subprocess.Popen[bytes]) -> None:
    with owner_of(server.pid, grace=0.0) as owner:
        owner.communicate("")
        assert owner.returncode == 0
    assert server.poll() is None


def test_what_is_not_guarded_any_more_is_left_alone(server: subprocess.Popen[bytes]) -> None:
    with OrphanGuard() as guard:
        guard.add(server.pid)
        guard.remove(server.pid)
        helper = guard._helper
        assert helper is not None
        assert helper.stdin is not None
        helper.stdin.close()  # as the kernel does when the owner is killed
        assert helper.wait(timeout=20) == 0
        assert server.poll() is None
