"""Several workers, killed and stopped, through real flows: always the records of the quiet search."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.inputs import settings_file
from jdn_core.processes.progress import listening
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from jdn_core.settings.whole import Settings
from tests import results
from tests.processes import descendants, is_pending, is_stopped, until
from tests.tiny_run import shapes, tiny_settings

pytestmark = [
    pytest.mark.services,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(600),  # seconds on an idle machine
]
ITERATIONS = 8


def settings_for(workers: int, root: Path) -> Settings:
    search = {"workers": workers, "lookback": 8, "iterations": ITERATIONS}
    return tiny_settings(root, search=search).with_lookback()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A base and a pool, for every search of this module."""
    folder = tmp_path_factory.mktemp("trained")
    run = Run(settings_for(1, shapes(folder / "shapes")), folder / "run")
    steps.ensure_base(run)
    for index in range(len(run.settings.pool.phases)):
        steps.ensure_phase(run, index)
    return run


def begin(trained: Run, out: Path, *, workers: int) -> Settings:
    """A folder with the trained stages, ready to be searched in."""
    assert trained.settings.data.root is not None
    settings = settings_for(workers, trained.settings.data.root)
    for stage in ("base", "pool"):
        shutil.copytree(trained.folder / stage, out / stage)
    (out / "settings.yaml").write_text(settings_file.dump(settings))
    return settings


def search(trained: Run, out: Path, *, workers: int) -> str:
    """The digest of all records after a search through the real flow."""
    from flows.search import search as flow

    flow(begin(trained, out, workers=workers), out)
    records = Records(out)
    assert len(records.all()) == ITERATIONS + 1
    assert results.problems(records) == ()
    return results.digest(records)


@pytest.fixture(scope="module")
def quiet(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest that nothing disturbed, with one worker."""
    return search(trained, tmp_path_factory.mktemp("quiet") / "run", workers=1)


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_any_number_of_workers_finds_the_same_records(
    workers: int, trained: Run, quiet: str, tmp_path: Path
) -> None:
    assert search(trained, tmp_path / "run", workers=workers) == quiet


def test_workers_that_are_killed_in_the_middle_are_replaced_and_change_nothing(
    trained: Run, quiet: str, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one(stage: str, done: int, total: int, note: str) -> None:
        if stage.startswith("pair ") and done == 2 and len(killed) < 3:
            living = _workers() - {*killed}
            if living:  # the ones before may be dead, and not replaced yet
                killed.append(max(living))
                os.kill(killed[-1], signal.SIGKILL)

    with listening(kill_one):
        assert search(trained, tmp_path / "run", workers=2) == quiet
    assert len(killed) == 3


def test_sigterm_saves_the_step_at_hand_and_nothing_is_redone(
    trained: Run, quiet: str, tmp_path: Path
) -> None:
    from tests.flows.commands import environment

    out = tmp_path / "run"
    begin(trained, out, workers=2)
    command = [sys.executable, "-m", "flows.cli.main", "resume", str(out)]
    held = environment() | {"JDN_FAULT": "pair.mid_epoch:5:stop"}  # each worker in its second pair
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=held) as child:
        training = until(lambda: stopped(child.pid, workers=2), beside=child)
        asked = time.monotonic()
        child.send_signal(signal.SIGTERM)
        for worker in training:
            until(lambda worker=worker: is_pending(worker, signal.SIGTERM), beside=child)
            os.kill(worker, signal.SIGCONT)
        _, said = child.communicate()
    assert child.returncode == 143, said
    assert time.monotonic() - asked < 15
    saved = {path.parent.name for path in (out / "work" / "checkpoints" / "pairs").rglob("*.safetensors")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    held_back = [record.pair.index for record in Records(out).all() if record.pair.key in saved]
    assert len(held_back) == len(saved) == 2
    for index in held_back:
        assert f"pair {index}: 2/" not in done.stderr
        assert f"pair {index}: 3/" in done.stderr
    assert results.digest(Records(out)) == quiet


def stopped(search: int, *, workers: int) -> list[int] | None:
    """The workers of a search, once their faults have stopped them all."""
    found = [pid for pid in descendants(search) if is_stopped(pid)]
    return found if len(found) == workers else None


def _workers() -> set[int]:
    """Process ids of the children of this process's fork server."""
    from multiprocessing import forkserver

    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return set(map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split()))
