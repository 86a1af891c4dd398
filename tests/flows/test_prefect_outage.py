"""Prefect's server restarted under a search, and gone for good: nothing that was trained is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.inputs import settings_file
from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from tests.flows import teamwork
from tests.flows.prefect_process import environment_of, server

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
ITERATIONS = 12  # more than a search evaluates until it notices


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teamwork.trained(tmp_path_factory.mktemp("trained"), iterations=ITERATIONS, workers=1)


def search_in(trained: Run, out: Path, *, patience: float) -> list[str]:
    """The command that searches in a folder, begun or not, and waits so long for the server."""
    for stage in ("base", "pool"):
        shutil.copytree(trained.folder / stage, out / stage, dirs_exist_ok=True)
    tracking = trained.settings.tracking.model_copy(update={"patience": patience})
    settings = trained.settings.model_copy(update={"tracking": tracking})
    (out / "settings.yaml").write_text(settings_file.dump(settings))
    return [sys.executable, "-m", "flows.cli.main", "resume", str(out)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_of(tmp_path / "prefect")


def begun(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """The command's process; the server is there already, for an unreachable one ends it at once."""
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def read_until(child: subprocess.Popen[str], line: str) -> None:
    assert child.stderr is not None
    said = []
    for text in child.stderr:
        said.append(text)
        if text.startswith(line):
            return
    pytest.fail(f"the search ended before {line!r}: {said}")


def test_a_server_that_is_gone_ends_the_search_69_and_a_restarted_one_is_waited_for(
    trained: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    command = search_in(trained, tmp_path / "run", patience=2)
    with server(environment):
        child = begun(command, environment)
        read_until(child, "pair 1: 1/")
    with child:
        assert child.stderr is not None
        said = child.stderr.read()
    assert child.returncode == 69, said
    assert "ERROR 69 Prefect's server does not answer" in said
    assert "Traceback" not in said
    before = Records(tmp_path / "run").all()
    assert len(before) in range(2, ITERATIONS), said  # what was under way is finished, and nothing begun
    assert [record.pair.index for record in before] == list(range(len(before)))
    command = search_in(trained, tmp_path / "run", patience=120)
    with server(environment):
        child = begun(command, environment)
        read_until(child, f"pair {len(before)}: 1/")
    with server(environment), child:
        assert child.stderr is not None
        said = child.stderr.read()
        assert child.wait() == 0, said
    records = Records(tmp_path / "run").all()
    assert records[: len(before)] == before
    assert len(records) == ITERATIONS + 1
