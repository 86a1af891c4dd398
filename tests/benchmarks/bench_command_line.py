"""What a person waits for: the help page, and the whole demo with all its processes' memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.conftest import Note

JDN = str(Path(sys.executable).with_name("jdn"))
GIB = 1024**3


def resident_bytes(pid: int) -> int:
    """Proportional set size of a process and all below it: pages that they share count once."""
    total, waiting = 0, [pid]
    while waiting:
        process = Path(f"/proc/{waiting.pop()}")
        try:
            rollup = (process / "smaps_rollup").read_text()
            waiting += [
                int(child) for path in process.glob("task/*/children") for child in path.read_text().split()
            ]
        except OSError:  # it ended between two lines
            continue
        total += next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def test_help_is_there_at_once(note: Note) -> None:
    seconds = []
    for _ in range(11):
        start = time.perf_counter()
        subprocess.run([JDN, "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    note("jdn --help, median of 11", statistics.median(seconds), "s", bound=0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_demo_fits_a_coffee_break_and_a_laptop(note: Note, tmp_path: Path, user: dict[str, str]) -> None:
    start, peak = time.perf_counter(), 0
    with (tmp_path / "answer.json").open("w") as answer, (tmp_path / "log").open("w") as log:
        command = [JDN, "demo", "--json", "--out", str(tmp_path / "demo")]
        demo = subprocess.Popen(command, stdout=answer, stderr=log, env=user, cwd=tmp_path)
        while demo.poll() is None:
            peak = max(peak, resident_bytes(demo.pid))
            time.sleep(0.25)
    seconds = time.perf_counter() - start
    assert demo.returncode == 0, (tmp_path / "log").read_text()[-4000:]
    best = json.loads((tmp_path / "answer.json").read_text())["best"]
    note("jdn demo, best student's H", best["score"], "")
    note("jdn demo, wall time", seconds, "s", bound=300)
    note("jdn demo, peak memory of all its processes", peak / GIB, "GiB", bound=3)
