"""The arrows between the rooms, read from the source and from a running interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "prefect", "mlflow", "matplotlib", "pycocotools")

IMPORT_EVERYTHING_BELOW = """
import importlib, pkgutil, sys
package = importlib.import_module({package!r})
for found in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
    if not found.name.startswith({but!r}):
        importlib.import_module(found.name)
"""

# None in sys.modules means "not there" to the import statement and to find_spec alike.
BLOCK = """
import sys
sys.modules.update(dict.fromkeys({names!r}))
"""

TELL = """
print(*sorted({names!r} & sys.modules.keys()))
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=250)


def test_import_contracts_are_kept() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    result = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_core_runs_without_the_house_around_it() -> None:
    """Without matplotlib too, but for the reports; in one interpreter, for torch takes seconds to import."""
    names = {"prefect", "mlflow", "yaml", "rich", "typer", "fastapi", "sqlalchemy", "pandas", "scipy"}
    bare = BLOCK.format(names=names | {"matplotlib"})
    drawing = ("jdn_core.reports", "jdn_core.run.report")
    rooms = IMPORT_EVERYTHING_BELOW.format(package="jdn_core", but=drawing)
    reports = 'del sys.modules["matplotlib"]' + IMPORT_EVERYTHING_BELOW.format(
        package="jdn_core.reports", but="nothing"
    )
    result = run_python(bare + rooms + reports)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "package",
    [
        "jdn_core.space",
        "jdn_core.search",
        "jdn_core.settings",
        "jdn_core.errors",
        "jdn_core.storage",
    ],
)
def test_the_brain_starts_without_torch(package: str) -> None:
    code = IMPORT_EVERYTHING_BELOW.format(package=package, but="nothing") + TELL.format(names=set(HEAVY))
    result = run_python(code)
    assert (result.stdout.split(), result.returncode) == ([], 0), result.stderr


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
sys.argv = ["jdn", "--help"]
from flows.cli.main import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", *sorted({set(HEAVY)!r} & sys.modules.keys()))
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "loaded:"
