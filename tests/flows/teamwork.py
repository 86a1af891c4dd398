"""A search whose pairs the workers of a Prefect pool evaluate: all that it needs, with real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate

from flows.inputs import settings_file
from jdn_core.run import steps
from jdn_core.run.folder import Run
from tests.processes import descendants
from tests.tasks.tracking.searches import climb
from tests.tiny_run import shapes, tiny_settings

POOL = "jdn"
FREQUENT = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}


def trained(folder: Path, *, iterations: int, workers: int) -> Run:
    """A base and a pool for searches of so many pairs; the lookback suits the number of workers."""
    search = {"iterations": iterations, "workers": workers}
    tracking = {"patience": 300.0}  # a busy machine's server may be silent for a while
    settings = tiny_settings(shapes(folder / "shapes"), search=search, tracking=tracking)
    run = Run(settings.with_lookback(), folder / "run")
    steps.ensure_base(run)
    for index in range(len(run.settings.pool.phases)):
        steps.ensure_phase(run, index)
    return run


def quiet(trained: Run, folder: Path) -> str:
    """The digest of the records when nothing disturbs the search, which no server is needed for."""
    begin(trained, folder, evaluator="local")
    run = Run(trained.settings, folder)
    steps.ensure_base_record(run)
    return climb(run, run.settings.search.iterations)


def begin(trained: Run, out: Path, *, evaluator: str) -> list[str]:
    """The command that searches in ``out``, begun or not; ``evaluator`` is that of the settings."""
    for stage in ("base", "pool"):
        shutil.copytree(trained.folder / stage, out / stage)
    search = trained.settings.search.model_copy(update={"evaluator": evaluator, "work_pool": POOL})
    settings = trained.settings.model_copy(update={"search": search})
    (out / "settings.yaml").write_text(settings_file.dump(settings))
    return [sys.executable, "-m", "flows.cli.main", "resume", str(out)]


def deploy(client: SyncPrefectClient) -> None:
    """The pool, and ``evaluate-pair`` on it."""
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    flow = client.create_flow_from_name("evaluate-pair")
    entrypoint = "flows.evaluate_pair.evaluate_pair"
    client.create_deployment(flow, "evaluate-pair", work_pool_name=POOL, entrypoint=entrypoint)


@contextmanager
def worker(
    environment: dict[str, str], name: str, log: Path, *, inside: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the pool that evaluates one pair at a time; it and what it started end with the block.

    Args:
        environment: names the servers.
        name: of the worker.
        log: file for what it says.
        inside: a command to run it with, such as ``ip netns exec NAME``.
    """
    command = [*inside, sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
    command += ["--limit", "1", "--name", name]
    environment = (
        environment | FREQUENT | {"PYTHONPATH": str(Path(__file__).parents[2])}
    )  # runs start elsewhere
    with log.open("ab") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    try:
        yield process
    finally:
        for child in descendants(process.pid):  # flow runs have sessions of their own
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.wait()
