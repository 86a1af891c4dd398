"""What a fault does at its place; the whole suite of crashes is in tests/crash."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jdn_core import faults
from jdn_core.errors import StorageError
from jdn_core.faults import Point, faultpoint
from jdn_core.storage import durable


@pytest.fixture(autouse=True)
def _nothing_stays_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_armed", {})


def test_a_place_that_nobody_armed_does_nothing() -> None:
    for point in Point:
        faultpoint(point)


def test_a_fault_happens_once_at_its_hit() -> None:
    faults.arm("pair.start:2:raise")
    faultpoint(Point.PAIR_START)
    faultpoint(Point.PAIR_TRAINED)
    with pytest.raises(RuntimeError, match=r"fault at pair\.start"):
        faultpoint(Point.PAIR_START)
    faultpoint(Point.PAIR_START)


def test_arming_takes_the_place_of_what_was_armed() -> None:
    faults.arm("pair.start:1:raise")
    faults.arm("top_k:1:raise")
    faultpoint(Point.PAIR_START)


@pytest.mark.parametrize(
    "text", ["pair.strat:1:raise", "pair.start:0:raise", "pair.start:1:explode", "pair.start"]
)
def test_what_is_no_fault_cannot_be_armed(text: str) -> None:
    with pytest.raises(ValueError, match=r"strat|hit|explode|unpack"):
        faults.arm(text)


def test_a_disk_that_is_full_stays_full_for_every_write(tmp_path: Path) -> None:
    durable.write_text(tmp_path / "old", "old")
    faults.arm("pair.start:1:enospc")
    faultpoint(Point.PAIR_START)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"old: No space left on device: needed 3 bytes, free \d+"):
            durable.write_text(tmp_path / "old", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_a_broken_disk_fails_at_its_own_place_first() -> None:
    faults.arm("durable.fsync:1:eio")
    faultpoint(Point.DURABLE_WRITE)
    with pytest.raises(OSError, match="Input/output error") as caught:
        faultpoint(Point.DURABLE_FSYNC)
    assert caught.value.errno == errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        faultpoint(Point.DURABLE_WRITE)


def test_too_little_memory_is_met_by_asking_for_it() -> None:
    faults.arm("pair.start:1:oom")
    with pytest.raises(MemoryError):
        faultpoint(Point.PAIR_START)


def test_everything_that_is_passed_can_be_watched() -> None:
    seen: list[str] = []
    faults.watch(seen.append)
    faultpoint("pair.start")
    faultpoint("chapter.start")
    assert seen == ["pair.start"]


@pytest.mark.parametrize(("action", "number"), [("kill9", signal.SIGKILL), ("sigterm", signal.SIGTERM)])
def test_the_environment_arms_a_process(action: str, number: int) -> None:
    program = "from jdn_core.faults import faultpoint; faultpoint('top_k'); print('on'); faultpoint('top_k')"
    environment = os.environ | {"JDN_FAULT": f"top_k:2:{action}"}
    ended = subprocess.run(
        [sys.executable, "-u", "-c", program], env=environment, check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (-number, "on\n")
    assert f"JDN_FAULT=top_k:2:{action}: here it is" in ended.stderr


def test_a_stopped_process_goes_on_when_it_is_told_to() -> None:
    program = "from jdn_core.faults import faultpoint; faultpoint('top_k'); print('on')"
    environment = os.environ | {"JDN_FAULT": "top_k:1:stop"}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        process.send_signal(signal.SIGCONT)
        assert process.communicate()[0] == b"on\n"
