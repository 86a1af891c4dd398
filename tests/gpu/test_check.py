"""The whole check on a CPU in small, where nothing is installed that a bare GPU box has not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.gpu.check import PARTS
from tests.processes import unmeasured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
HIDDEN = ("prefect", "mlflow", "matplotlib", "yaml", "pytest")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment that hides packages from every process below."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
            import sys

            class Hide:
                def find_spec(self, name, path=None, target=None):
                    if name.partition(".")[0] in {HIDDEN}:
                        raise ImportError(f"{{name}} is hidden")

            sys.meta_path.insert(0, Hide())
        """)
    )
    paths = [str(folder), os.getcwd(), os.environ.get("PYTHONPATH", "")]
    # Five processes import torch; where its bytecode may not be written, that alone would take minutes.
    compiled = {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    alone = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    return unmeasured() | compiled | alone


def test_packages_are_hidden_there(bare: dict[str, str]) -> None:
    for name in HIDDEN:
        run = subprocess.run([sys.executable, "-c", f"import {name}"], env=bare, capture_output=True)
        assert f"{name} is hidden" in run.stderr.decode()


def test_every_part_passes_on_a_cpu_in_small(bare: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu.check", "--device", "cpu", "--minutes", f"{_minutes():.1f}"]
    run = subprocess.run([*command, "--out", tmp_path], env=bare, capture_output=True, text=True)
    report = json.loads((tmp_path / "check.json").read_text())
    assert [(part["part"], part["state"]) for part in report["parts"]] == [
        (part.name, "passed") for part in PARTS
    ], run.stdout + run.stderr
    assert report["passed"] is True
    assert run.returncode == 0
    table = (tmp_path / "check.md").read_text()
    assert all(f"| {part.name} | passed |" in table for part in PARTS)


def _minutes() -> float:
    """Returns three minutes, and more where each core has more than one process that wants it."""
    return 3 * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
