"""What Prefect, MLflow, the records and the files cost beside the method that they carry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.conftest import Note

ROOT = Path(__file__).parents[2]


def test_the_house_costs_little_beside_the_method(note: Note, tmp_path: Path, user: dict[str, str]) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.timed_demo", str(tmp_path / "demo")]
    done = subprocess.run(command, cwd=ROOT, env=user, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    seconds = json.loads((tmp_path / "demo.json").read_text())
    house = seconds["wall"] - seconds["method"] + seconds["files_in_method"]
    note("all but the method in the demo: server, tracking, files, report", house, "s")
    note("its share of the demo's wall time", 100 * house / seconds["wall"], "%", bound=5)
