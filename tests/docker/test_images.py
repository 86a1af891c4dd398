"""Images and compose file without an engine: schema, linters, and what RELIABILITY promises of security."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests.docker.composed import DOCKER, ROOT, compose, dockerfile, entrypoint, ours, services

LOCK = ROOT / "requirements.lock"
ONE_SHOT = {"deploy", "bucket"}
SCRIPTS = sorted(DOCKER.glob("*.sh"))


def run(tool: str, *arguments: object) -> str:
    """What a linter of the development environment says; skipped without it."""
    found = shutil.which(tool, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture(scope="module")
def choose() -> ModuleType:
    spec = importlib.util.spec_from_file_location("choose", DOCKER / "choose.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_compose_file_follows_the_specification() -> None:
    assert run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml") == ""


def test_the_dockerfile_has_no_lint() -> None:
    assert run("hadolint", DOCKER / "Dockerfile") == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_have_no_lint_and_may_be_executed(script: Path) -> None:
    assert script.stat().st_mode & stat.S_IXUSR
    assert run("shellcheck", script) == ""


def test_every_copied_file_is_there_and_every_target_is_a_stage() -> None:
    for line in dockerfile("COPY"):
        words = [word for word in line.split() if not word.startswith("--")]
        if "--from" not in line:
            assert [name for name in words[:-1] if not (ROOT / name).exists()] == []
    stages = {line.split()[2] for line in dockerfile("FROM")}
    assert {"server", "cpu", "cuda"} <= stages
    assert {service["build"]["target"] for service in ours().values()} == {"server", "cpu", "cuda"}


def test_base_images_are_pinned_by_digest() -> None:
    (python,) = [line for line in dockerfile("ARG") if line.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", python)
    bases = {line.split()[0] for line in dockerfile("FROM")}
    stages = {line.split()[2] for line in dockerfile("FROM")}
    assert bases - stages == {"${PYTHON}"}
    foreign = {service["image"] for service in services().values() if "build" not in service}
    assert not [image for image in foreign if ":" not in image or image.endswith(":latest")]


def test_processes_run_without_root_and_get_signals() -> None:
    (user,) = dockerfile("USER")
    assert user == "10001:10001"
    assert entrypoint()[0] == "tini"
    for name, service in services().items():
        command = service.get("command")
        assert command is None or isinstance(command, list), f"{name}: a shell would keep SIGTERM to itself"
        assert service["stop_grace_period"] in ("30s", "60s")
        assert "no-new-privileges:true" in service["security_opt"]
    assert all(service["cap_drop"] == ["ALL"] for service in ours().values())


def test_ports_are_published_on_the_loopback_interface_only() -> None:
    published = [port for service in services().values() for port in service.get("ports", ())]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_no_secret_stands_in_the_compose_file() -> None:
    declared = compose()["secrets"]
    for name, service in services().items():
        for variable, value in (service.get("environment") or {}).items():
            secret = any(word in variable for word in ("PASSWORD", "AUTH_STRING", "SECRET", "ACCESS_KEY"))
            assert secret == variable.endswith("_FILE"), f"{name}: {variable}"
            if secret:
                assert value.removeprefix("/run/secrets/") in service["secrets"]
            assert not re.search("//[^/@]+:[^/@]+@", value), f"{name}: {value}"
        assert set(service.get("secrets", ())) <= declared.keys()
    assert all(set(secret) == {"file"} for secret in declared.values())


def test_services_come_back_and_wait_for_those_they_need() -> None:
    for name, service in services().items():
        assert service["restart"] == ("on-failure:5" if name in ONE_SHOT else "unless-stopped")
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert how["condition"] == wanted
            assert "healthcheck" in services()[needed] or needed in ours()
    volumes = {
        volume.partition(":")[0]
        for service in services().values()
        for volume in service.get("volumes", ())
        if not volume.startswith(".")
    }
    assert volumes == compose()["volumes"].keys()


def test_every_gpu_has_one_worker_that_takes_one_pair_at_a_time() -> None:
    workers = [service for name, service in services().items() if name.startswith("gpu-")]
    devices = [
        worker["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for worker in workers
    ]
    assert devices == [["0"], ["1"], ["2"], ["3"]]
    for worker in workers:
        assert worker["build"]["target"] == "cuda"
        assert worker["command"][worker["command"].index("--limit") + 1] == "1"


@pytest.mark.parametrize("roots", [(), ("prefect", "mlflow", "psycopg2-binary", "boto3")])
def test_an_image_gets_all_that_its_packages_need_and_no_test_tool(
    choose: ModuleType, roots: tuple[str, ...]
) -> None:
    names = choose.entries(choose.chosen(LOCK.read_text(), roots)).keys()
    missing = set()
    for name in names:
        try:
            needed = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue  # of another platform
        for requirement in map(Requirement, needed):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                plain = requirement.name.lower().replace("_", "-").replace(".", "-")
                missing |= {plain} - names
    assert missing == set()
    assert not names & {"pytest", "mypy", "ruff", "hypothesis", "playwright"}
    assert ("torch" in names) == (not roots)


def test_a_chosen_package_keeps_every_hash(choose: ModuleType) -> None:
    entry = choose.entries(choose.chosen(LOCK.read_text(), ["uv"]))["uv"]
    assert entry in LOCK.read_text()
    assert "--hash=sha256:" in entry
    with pytest.raises(KeyError, match="not in the lock: nothing"):
        choose.chosen(LOCK.read_text(), ["nothing"])


def test_the_entrypoint_puts_secrets_of_files_into_the_environment(tmp_path: Path) -> None:
    secret = tmp_path / "auth"
    secret.write_text("jdn:a b'c\"$d")
    environment = {"PATH": os.environ["PATH"], "PREFECT_API_AUTH_STRING_FILE": str(secret)}
    show = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    told = subprocess.run(
        [DOCKER / "entrypoint.sh", *show], env=environment, capture_output=True, text=True, check=True
    )
    seen = json.loads(told.stdout)
    assert seen["PREFECT_API_AUTH_STRING"] == "jdn:a b'c\"$d"
    assert "PREFECT_API_AUTH_STRING_FILE" not in seen


def test_a_secret_that_cannot_be_read_ends_the_container_before_its_command(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD_FILE": str(tmp_path / "none")}
    command = [DOCKER / "entrypoint.sh", "echo", "begun"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (66, "")
    assert "none: user" in refused.stderr


def test_secrets_are_made_once_and_only_their_owner_reaches_them(tmp_path: Path) -> None:
    script = shutil.copy(DOCKER / "secrets.sh", tmp_path)
    subprocess.run(["bash", script], check=True, capture_output=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert made.keys() == compose()["secrets"].keys()
    assert made["prefect_auth"].startswith("jdn:")
    assert len(set(made.values())) == len(made)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    subprocess.run(["bash", script], check=True, capture_output=True)
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == made
