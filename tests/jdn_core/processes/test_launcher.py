"""Processes that train together: they agree, they end as one, and they compute what one process computes."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jdn_core.data.shapes import generate
from jdn_core.errors import DataError, JobFailed
from jdn_core.processes import stopping
from jdn_core.processes.child import MemoryShortage
from jdn_core.processes.launcher import on_ranks
from jdn_core.processes.progress import listening
from jdn_core.processes.ranks import ALONE
from jdn_core.processes.stopping import Stopped
from jdn_core.training.loop import History
from tests.jdn_core.processes.together import Case, State, alone, counted, listening_at, trained

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    generate(folder, images=15, size=64, seed=0)
    return folder


@pytest.fixture(scope="module")
def undisturbed(photos: Path) -> tuple[State, History]:
    return on_ranks(trained, Case(photos), count=2)


@pytest.fixture
def _no_wish() -> Iterator[None]:
    yield
    stopping.clear()


def assert_equal(found: tuple[State, History], wanted: tuple[State, History]) -> None:
    assert found[1] == wanted[1]
    assert all(np.array_equal(found[0][name], values) for name, values in wanted[0].items())


def test_gradients_are_added_up_and_the_first_ones_reports_are_heard() -> None:
    told = []
    with listening(lambda *report: told.append(report)):
        assert on_ranks(counted, count=2) == [3.0, 2.0, -1.0]
    assert told == [("counting", 0, 2, "")]


def test_a_process_that_dies_is_started_again_and_said(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    with caplog.at_level(logging.WARNING, "jdn_core"):
        assert on_ranks(counted, "crash", starts, count=2) == [3.0, 2.0, -1.0]
    assert starts.stat().st_size == 3
    assert [record.message for record in caplog.records] == [
        f"a training process died; all go on from the last checkpoint, start {start}" for start in (2, 3)
    ]


def test_an_error_of_the_users_ends_all_of_them_at_once(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with pytest.raises(DataError, match="image 7"):
        on_ranks(counted, "data", starts, count=2)
    assert starts.stat().st_size == 1


def test_too_little_memory_ends_all_of_them_with_its_numbers() -> None:
    with pytest.raises(MemoryShortage, match=r"peak \d+\.\d\d of \d+\.\d\d GiB"):
        on_ranks(counted, "memory", count=2)


def test_a_fault_that_comes_again_and_again_is_said() -> None:
    with pytest.raises(JobFailed, match=r"processes died 5 times, at last: ValueError: a bug"):
        on_ranks(counted, "bug", count=2)


def test_one_wish_to_stop_stops_all_of_them() -> None:
    with pytest.raises(Stopped) as caught:
        on_ranks(counted, "stop", count=2)
    assert caught.value.number == 2


@pytest.mark.usefixtures("_no_wish")
def test_the_parents_wish_to_stop_reaches_them(
    photos: Path, tmp_path: Path, undisturbed: tuple[State, History]
) -> None:
    case = Case(photos, checkpoints=tmp_path)
    with listening(lambda *_: stopping.request()), pytest.raises(Stopped):
        on_ranks(trained, case, count=2)
    stopping.clear()
    assert_equal(on_ranks(trained, case, count=2), undisturbed)


PARENT = """
from jdn_core.processes.progress import listening
from jdn_core.processes.launcher import on_ranks
from tests.jdn_core.processes.together import waiting

if __name__ == "__main__":
    with listening(lambda _, one, other, *rest: print(one, other, flush=True)):
        on_ranks(waiting, count=2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="waits for processes that are not its own")
def test_they_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)
    with parent, contextlib.ExitStack() as opened:
        handles = [os.pidfd_open(int(number)) for number in parent.stdout.readline().split()]
        for handle in handles:
            opened.callback(os.close, handle)
        parent.kill()
        for handle in handles:
            assert select.select([handle], [], [], 30)[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's table of sockets")
def test_nothing_listens_beyond_the_loopback_interface() -> None:
    before, seen = listening_at(ALONE), []
    with listening(lambda *_: seen.append(listening_at(ALONE))):
        on_ranks(counted, count=2)
    assert seen == [before]
    assert on_ranks(listening_at, count=2) == {"0100007F"}


def test_two_processes_train_like_one_that_takes_its_batch_in_parts(
    photos: Path, undisturbed: tuple[State, History]
) -> None:
    found, history = undisturbed
    wanted, expected = alone(Case(photos, device_batch=2))
    assert history == expected
    shared = [name for name in wanted if "running" not in name and "num_batches" not in name]
    assert all(np.array_equal(found[name], wanted[name]) for name in shared)


def test_without_batch_statistics_two_processes_train_like_one_with_the_doubled_batch(photos: Path) -> None:
    found, history = on_ranks(trained, Case(photos, batch_free=True), count=2)
    wanted, expected = alone(Case(photos, batch_free=True))
    for name, means in expected.items():
        assert history[name] == pytest.approx(means, rel=1e-4), name
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("step", [1, 3])
def test_after_a_killed_process_training_ends_bit_equal(
    photos: Path, tmp_path: Path, undisturbed: tuple[State, History], step: int
) -> None:
    assert_equal(on_ranks(trained, Case(photos, checkpoints=tmp_path, kill=step), count=2), undisturbed)


@pytest.mark.usefixtures("_no_wish")
@pytest.mark.parametrize("step", [2, 5])
def test_after_a_stop_at_a_step_training_ends_bit_equal(
    photos: Path, tmp_path: Path, undisturbed: tuple[State, History], step: int
) -> None:
    with pytest.raises(Stopped):
        on_ranks(trained, Case(photos, checkpoints=tmp_path, stop=step), count=2)
    assert_equal(on_ranks(trained, Case(photos, checkpoints=tmp_path), count=2), undisturbed)
