"""What someone clicks in Prefect's dashboard while a search runs: pause, resume, cancel."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Paused

from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from tests.flows import teamwork
from tests.flows.prefect_process import environment_of, server

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
ITERATIONS = 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teamwork.trained(tmp_path_factory.mktemp("trained"), iterations=ITERATIONS, workers=1)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    environment = environment_of(tmp_path_factory.mktemp("prefect"))
    with server(environment):
        yield environment


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}),
        get_client(sync_client=True) as client,
    ):
        yield client


def test_a_paused_search_begins_no_pair_until_it_is_resumed(
    trained: Run, environment: dict[str, str], client: SyncPrefectClient, tmp_path: Path
) -> None:
    command = teamwork.begin(trained, tmp_path / "run", evaluator="local")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as child:
        said = _read_until(child, "pair 1: 1/")
        flow_run = _the_running(client)
        client.set_flow_run_state(flow_run.id, Paused(timeout_seconds=600), force=True)
        said += _read_until(child, "paused: 0/1")
        begun = {line.partition(":")[0] for line in said if line.startswith("pair ")}
        before = Records(tmp_path / "run").all()
        assert len(before) == len(begun) + 1  # what was begun is finished, and nothing else
        assert len(before) <= ITERATIONS
        client.resume_flow_run(flow_run.id)
        assert child.stderr is not None
        rest = child.stderr.read()
    assert child.returncode == 0, rest
    assert len(Records(tmp_path / "run").all()) == ITERATIONS + 1
    assert client.read_flow_run(flow_run.id).state_name == "Completed"


def test_a_cancelled_search_ends_and_can_be_resumed(
    trained: Run, environment: dict[str, str], client: SyncPrefectClient, tmp_path: Path
) -> None:
    """No worker runs this one, which would send a SIGTERM: the search notices before its next pair."""
    command = teamwork.begin(trained, tmp_path / "run", evaluator="local")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as child:
        _read_until(child, "pair 1: 1/")
        flow_run = _the_running(client)
        client.set_flow_run_state(flow_run.id, Cancelled(), force=True)
        assert child.stderr is not None
        rest = child.stderr.read()
    assert child.returncode == 143, rest
    assert f"stopped; `jdn resume {tmp_path / 'run'}` goes on" in rest
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert len(Records(tmp_path / "run").all()) == ITERATIONS + 1


def _the_running(client: SyncPrefectClient) -> FlowRun:
    (found,) = (run for run in client.read_flow_runs() if run.state_name == "Running")
    return found


def _read_until(child: subprocess.Popen[str], words: str) -> list[str]:
    """The lines of its log up to one that holds these words."""
    assert child.stderr is not None
    said = []
    for text in child.stderr:
        said.append(text)
        if words in text:
            return said
    pytest.fail(f"the search ended before {words!r}: {said}")
