"""Commands of `jdn` in processes of their own, served by this test's Prefect server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def jdn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )


def environment() -> dict[str, str]:
    """This test's own Prefect server serves the child too."""
    from prefect.settings import PREFECT_API_URL

    return os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}


def killed_at(line: str, *arguments: str) -> int:
    """Runs a command until a line of its progress begins with ``line``, then kills it; its exit status."""
    command = [sys.executable, "-m", "flows.cli.main", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stderr is not None
        for said in child.stderr:
            if said.startswith(line):
                child.send_signal(signal.SIGKILL)
                break
    return child.returncode
