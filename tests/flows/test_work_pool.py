"""Pairs evaluated by workers of a Prefect pool, with kills on both sides: the records of the quiet search."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from tests import results
from tests.flows import teamwork
from tests.postgresql import binaries, postgresql
from tests.processes import until
from tests.services import servers

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]
ITERATIONS, WORKERS = 3, 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teamwork.trained(tmp_path_factory.mktemp("trained"), iterations=ITERATIONS, workers=WORKERS)


def test_a_lost_worker_and_a_killed_search_change_nothing(trained: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quiet = teamwork.quiet(trained, tmp_path / "quiet")
    command = teamwork.begin(trained, out, evaluator="work_pool")
    (tmp_path / "servers").mkdir()
    with ExitStack() as stack:
        database = stack.enter_context(postgresql()) if binaries() else None
        environment = (
            stack.enter_context(servers(tmp_path / "servers", database=database)) | teamwork.FREQUENT
        )
        api = environment["PREFECT_API_URL"]
        stack.enter_context(temporary_settings({PREFECT_API_URL: api}))
        client = stack.enter_context(get_client(sync_client=True))
        teamwork.deploy(client)
        for name in ("one", "two"):
            stack.enter_context(teamwork.worker(environment, name, tmp_path / name))
        with (tmp_path / "log").open("wb") as log:
            first = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        victim = _running(client, "pair-2-", first)
        os.kill(int(str(victim.infrastructure_pid).rpartition(":")[2]), signal.SIGKILL)
        survivor = _running(client, "pair-2-", first, but=victim)
        first.kill()
        first.wait()
        again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        runs = [run for run in client.read_flow_runs(limit=200) if run.name.startswith("pair-")]
    assert results.digest(Records(out)) == quiet
    states = {run.name: run.state_name for run in runs}
    assert states[victim.name] == "Crashed"
    assert states[survivor.name] == "Completed"  # the search found it again
    completed = Counter(run.name.partition("-try")[0] for run in runs if run.state_name == "Completed")
    assert completed == {f"pair-{index}": 1 for index in range(1, ITERATIONS + 1)}
    assert set(states.values()) <= {"Completed", "Crashed"}


def _running(
    client: SyncPrefectClient, name: str, search: subprocess.Popen[bytes], *, but: FlowRun | None = None
) -> FlowRun:
    """A run whose name begins so, another than ``but``, once a worker has started it."""

    def found() -> FlowRun | None:
        for run in client.read_flow_runs(limit=200):
            is_it = run.name.startswith(name) and (but is None or run.id != but.id)
            if is_it and run.infrastructure_pid and run.state_name == "Running":
                return run
        return None

    return until(found, beside=search)
