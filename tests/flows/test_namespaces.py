"""Two workers on hosts of their own share a search; one host is cut off in the middle of a pair."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from tests import results
from tests.flows import teamwork
from tests.namespaces import available, network
from tests.postgresql import binaries, postgresql
from tests.processes import is_stopped, unmeasured, until
from tests.services import servers

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(900),  # a lost worker is noticed after a minute and a half
    pytest.mark.skipif(not available(), reason="network namespaces need root and `ip`"),
]
ITERATIONS, WORKERS = 5, 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teamwork.trained(tmp_path_factory.mktemp("trained"), iterations=ITERATIONS, workers=WORKERS)


def test_a_host_that_is_cut_off_in_the_middle_of_a_pair_changes_nothing(trained: Run, tmp_path: Path) -> None:
    """Both servers are on PostgreSQL, where it is installed."""
    out = tmp_path / "out"
    quiet = teamwork.quiet(trained, tmp_path / "quiet")
    command = teamwork.begin(trained, out, evaluator="work_pool")
    (tmp_path / "servers").mkdir()
    with ExitStack() as stack:
        net = stack.enter_context(network(["near", "far"]))
        stack.enter_context(net.inside("hub"))
        database = stack.enter_context(postgresql()) if binaries() else None
        addressed = servers(tmp_path / "servers", host=net.address("hub"), database=database)
        environment = stack.enter_context(addressed) | teamwork.FREQUENT
        stack.enter_context(temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}))
        client = stack.enter_context(get_client(sync_client=True))
        teamwork.deploy(client)
        for name, fault in {"near": "", "far": "pair.mid_epoch:2:stop"}.items():
            mine = worker_environment(trained, tmp_path / name, environment, fault)
            host = tuple(net.command(name))
            stack.enter_context(teamwork.worker(mine, name, tmp_path / f"{name}.log", inside=host))
        with (tmp_path / "search.log").open("wb") as log:
            search = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        stack.callback(search.kill)
        training = until(lambda: stopped(net.processes("far")), beside=search)
        net.cut("far")
        os.kill(training, signal.SIGCONT)  # it finishes the pair, and nobody hears of it
        assert search.wait() == 0, (tmp_path / "search.log").read_text()
        runs = [run for run in client.read_flow_runs(limit=200) if run.name.startswith("pair-")]
    assert results.digest(Records(out)) == quiet
    assert results.problems(Records(out)) == ()
    (lost,) = [run for run in runs if run.state_name != "Completed"]
    assert lost.state_name == "Crashed"
    assert [run.state_name for run in runs if pair_of(run) == pair_of(lost)].count("Completed") == 1
    assert {pair_of(run) for run in runs} == {f"pair-{index}" for index in range(1, ITERATIONS + 1)}


def worker_environment(trained: Run, home: Path, environment: dict[str, str], fault: str) -> dict[str, str]:
    """Of a host with files and a dataset of its own, where training stops at a named place."""
    assert trained.settings.data.root is not None
    data = shutil.copytree(trained.settings.data.root, home / "data")
    own = {"JDN_HOME": str(home), "JDN_DATA_ROOT": str(data), "PREFECT_HOME": str(home / "prefect")}
    return unmeasured(environment) | own | ({"JDN_FAULT": fault} if fault else {})


def stopped(processes: list[int]) -> int | None:
    """The one that its fault has stopped."""
    return next(filter(is_stopped, processes), None)


def pair_of(run: FlowRun) -> str:
    return run.name.partition("-try")[0]
