"""What the guide to deployments promises is there: commands, services, variables, its manifest."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from flows.cli.main import app
from tests.docker.composed import image_environment, services

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "deployments" / "README.md").read_text()
JOB = ROOT / "deployments" / "worker.sbatch"
SOURCES = [
    *(path for room in ("jdn_core", "tasks", "flows") for path in (ROOT / room).rglob("*.py")),
    *(ROOT / "docker").glob("*"),
    JOB,
]


@pytest.mark.parametrize("command", sorted(set(re.findall(r"(?m)(?:^|`)jdn ([a-z]+)", GUIDE))))
def test_every_command_exists(command: str) -> None:
    assert command in get_command(app).commands  # type: ignore[attr-defined]


def test_every_service_and_profile_is_in_the_compose_file() -> None:
    found = services()
    text = re.sub(r"\\\n\s+", "", GUIDE)
    lines = re.findall(r"(?m)^docker compose -f (\S+) (.*?)(?:\s{2,}#.*)?$", text)
    assert {file for file, _ in lines} == {"docker/compose.yaml"}
    named = [
        re.match(r"(?:stop|exec|run --rm) ((?:[a-z-]+(?: |$))+?)(?:sh|pg_dumpall|$)", line)
        for _, line in lines
    ]
    assert {name for names in named if names for name in names[1].split()} <= found.keys()
    assert len([names for names in named if names]) == 3
    profiles = {profile for service in found.values() for profile in service.get("profiles", ())}
    assert set(re.findall(r"--profile (\w+)", GUIDE)) <= profiles
    assert set(re.findall(r"--scale ([a-z-]+)=", GUIDE)) <= found.keys()


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"\bJDN_[A-Z_]+", GUIDE))))
def test_every_variable_is_read_somewhere(variable: str) -> None:
    assert [path for path in SOURCES if path.is_file() and variable in path.read_text()]


def test_the_pod_is_the_worker_of_the_compose_file() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    ours = services()["gpu-0"]
    assert worker["args"] == ours["command"]
    assert worker["image"].endswith(ours["image"])
    assert {variable["name"] for variable in worker["env"]} <= ours[
        "environment"
    ].keys() | image_environment()
    assert {mount["name"] for mount in worker["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }


def test_the_job_has_no_lint_and_is_named_where_it_is() -> None:
    assert "deployments/worker.sbatch" in GUIDE
    found = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([found, JOB], capture_output=True, text=True, check=False)
    assert done.stdout == ""
