"""What lies between a pair's proposal and its first step, and between its last step and the commit."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from jdn_core.processes.progress import listening
from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from tests.benchmarks.conftest import Note
from tests.flows import teamwork
from tests.services import servers

ITERATIONS = 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teamwork.trained(tmp_path_factory.mktemp("trained"), iterations=ITERATIONS, workers=1)


@pytest.mark.usefixtures("prefect_server")
def test_here_a_warm_worker_begins_within_a_second(note: Note, trained: Run, tmp_path: Path) -> None:
    """The first pair is left out: its worker is not warm yet. Validation counts as orchestration here."""
    from flows.inputs.settings_file import load
    from flows.search import search

    out = tmp_path / "out"
    teamwork.begin(trained, out, evaluator="local")
    seen: list[tuple[float, str, int, int]] = []

    def remember(stage: str, done: int, total: int, text: str) -> None:
        seen.append((time.time(), stage, done, total))

    with listening(remember):
        search(load(str(out / "settings.yaml")), out)
    before, after = [], []
    for index in range(2, ITERATIONS + 1):
        steps = [(when, done, total) for when, stage, done, total in seen if stage == f"pair {index}"]
        told = next(when for when, stage, done, _ in seen if stage == "search" and done == index - 1)
        before.append(steps[0][0] - told)
        after.append(_committed(out, index) - next(when for when, done, total in steps if done == total))
    note("here: from a pair's proposal to its first step, median", median(before), "s", bound=1)
    note(
        "here: from its last step to the commit, validation and latency included, median", median(after), "s"
    )


def test_on_a_pool_the_worker_starts_a_process(note: Note, trained: Run, tmp_path: Path) -> None:
    """Between creation of the run and its training: the worker's poll, a process, imports, the fetching."""
    out = tmp_path / "out"
    command = teamwork.begin(trained, out, evaluator="work_pool")
    with ExitStack() as stack:
        (tmp_path / "servers").mkdir()
        environment = stack.enter_context(servers(tmp_path / "servers")) | teamwork.FREQUENT
        stack.enter_context(temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}))
        client = stack.enter_context(get_client(sync_client=True))
        teamwork.deploy(client)
        stack.enter_context(teamwork.worker(environment, "one", tmp_path / "one"))
        subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
        runs = {run.name: run for run in client.read_flow_runs(limit=200)}
        tasks = {(task.flow_run_id, task.name): task for task in client.read_task_runs(limit=200)}
    waits: dict[str, list[float]] = {"to begin": [], "to train": [], "to commit": []}
    for index in range(1, ITERATIONS + 1):
        run = runs[f"pair-{index}-try-1"]
        training = tasks[run.id, f"fast-evaluate pair {index}"]
        assert run.created
        assert run.start_time
        assert training.start_time
        assert training.end_time
        waits["to begin"].append((run.start_time - run.created).total_seconds())
        waits["to train"].append((training.start_time - run.start_time).total_seconds())
        waits["to commit"].append(_committed(out, index) - training.end_time.timestamp())
    note("pool: from a pair's proposal to its flow's first line, median", median(waits["to begin"]), "s")
    note("pool: from there to the evaluation, median", median(waits["to train"]), "s")
    note(
        "pool: from the evaluation's end to the commit in the search, median", median(waits["to commit"]), "s"
    )


def _committed(out: Path, index: int) -> float:
    """When the record of a pair came into the search's folder, seconds since the epoch."""
    records = Records(out)
    record = next(record for record in records.all() if record.pair.index == index)
    return records.path(record.pair.key).stat().st_ctime
