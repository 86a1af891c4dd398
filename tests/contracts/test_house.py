"""What a fresh checkout must be: installable by hash, free of machines' names, documented, quiet."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = ("jdn_core", "tasks", "flows", "deployments")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
KNOWN_GOOD = {"prefect": "3.8.8", "mlflow": "3.17.2", "torch": "2.13.0", "torchvision": "0.28.0"}


def locked() -> dict[str, tuple[Requirement, int]]:
    """Name -> (requirement, number of hashes) of every entry of the lock."""
    entries = re.findall(r"(?m)^([a-z0-9][^\n#]*?)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", lock_text())
    requirements = [(Requirement(line), hashes.count("--hash")) for line, hashes in entries]
    return {requirement.name: (requirement, count) for requirement, count in requirements}


def lock_text() -> str:
    return (ROOT / "requirements.lock").read_text()


def tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return listing.stdout.splitlines()


def test_every_locked_package_has_one_version_and_hashes() -> None:
    loose = [
        str(requirement)
        for requirement, hashes in locked().values()
        if not hashes or not str(requirement.specifier).startswith("==")
    ]
    assert loose == []


def test_the_lock_covers_all_that_is_declared_within_its_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    entries = locked()
    for requirement in map(Requirement, wanted):
        version = str(entries[canonicalize_name(requirement.name)][0].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} but {version} is locked"


@pytest.mark.parametrize(("name", "version"), KNOWN_GOOD.items())
def test_the_lock_holds_the_versions_that_were_tried_together(name: str, version: str) -> None:
    assert str(locked()[name][0].specifier) == f"=={version}"


def test_the_lock_names_no_host_and_no_path() -> None:
    assert re.findall(r"(?m)^.*(?:://|--index|--find-links|@ file|^\s*-[ce] ).*$", lock_text()) == []


def test_nothing_generated_is_committed() -> None:
    generated = r"(^|/)(uv\.lock|mlflow\.db|mlruns/|.*\.egg-info/|.*\.safetensors|\.venv/)"
    assert [path for path in tracked() if re.search(generated, path)] == []


def test_the_frozen_archives_are_small() -> None:
    """Every clone carries them for ever."""
    frozen = [ROOT / path for path in tracked() if path.startswith("tests/fixtures/")]
    assert sum(path.stat().st_size for path in frozen) < 2_000_000


def test_no_committed_text_names_a_path_of_a_machine() -> None:
    homes = re.compile(r"(?<![\w.])/(?:work|root|Users|home/\w+)/\w")
    text_files = [
        ROOT / path for path in tracked() if Path(path).suffix in {".py", ".md", ".yaml", ".toml", ".lock"}
    ]
    assert [path.name for path in text_files if path.exists() and homes.search(path.read_text())] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_opens_with_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text())), f"{module.name} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_no_class_stands_more_than_two_deep() -> None:
    """Depth counts our own classes alone: nn.Module, Exception and the like are level zero."""
    parents = {
        node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
    }

    def depth(name: str) -> int:
        return 1 + max((depth(base) for base in parents[name] if base in parents), default=0)

    assert [name for name in parents if depth(name) > 2] == []


def test_whole_settings_stop_at_the_door() -> None:
    """A room may take its own section; the whole is for the core's rooms of runs and those above the core."""
    readers = [
        str(module.relative_to(ROOT))
        for module in MODULES
        if module.is_relative_to(ROOT / "jdn_core")
        and module.parent
        not in (ROOT / "jdn_core/run", ROOT / "jdn_core/settings", ROOT / "jdn_core/studies")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "jdn_core.settings.whole"
        and any(alias.name == "Settings" for alias in node.names)
    ]
    assert readers == []
