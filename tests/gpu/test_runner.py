"""Parts that end in every bad way; none of it reaches the parts behind, and the report says how."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gpu.findings import Findings, Result
from tests.processes import lives, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # each check imports torch


class Checked(NamedTuple):
    status: int
    out: Path
    text: str

    def result(self, part: str) -> Result:
        return Result.read(self.out / "parts" / f"{part}.json")


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    return _check(tmp_path_factory.mktemp("bad"))


def test_a_part_that_does_not_pass_makes_the_exit_status_1(checked: Checked) -> None:
    assert checked.status == 1
    assert json.loads((checked.out / "check.json").read_text())["passed"] is False


def test_what_only_measures_does_not_decide(tmp_path: Path) -> None:
    good = _check(tmp_path, "good")
    assert good.status == 0
    assert json.loads((good.out / "check.json").read_text())["passed"] is True
    assert good.result("fast.is_killed").state == "crashed"


@pytest.mark.parametrize(
    "part, state, reason",
    [
        ("right.wrong", "failed", "two and two: it is 4"),
        ("right.broken", "failed", "first: ValueError: a bug; the part itself: RuntimeError: another bug"),
        ("works.empty", "failed", "no item was checked"),
        ("works.crashes", "crashed", "killed by SIGABRT after before the crash"),
        ("works.is_killed", "crashed", "killed by SIGKILL before its first item"),
        ("works.leaves", "crashed", "ended with status 3 before its first item"),
        ("works.hangs", "out of time", "not done in 2 s, ended after a child"),
        ("fast.absent", "not run", "there is no GPU"),
    ],
)
def test_the_report_says_how_a_part_ended(checked: Checked, part: str, state: str, reason: str) -> None:
    result = checked.result(part)
    assert (result.state, result.reason) == (state, reason)
    assert reason in checked.text
    assert f"| {part} | {state} |" in (checked.out / "check.md").read_text()


def test_the_parts_behind_are_not_taken_along(checked: Checked) -> None:
    assert checked.result("right.good").state == "passed"
    states = [part["state"] for part in json.loads((checked.out / "check.json").read_text())["parts"]]
    assert len(states) == 10


@pytest.mark.parametrize("part, item", [("works.crashes", "before the crash"), ("works.hangs", "a child")])
def test_what_a_part_had_found_outlives_it(checked: Checked, part: str, item: str) -> None:
    assert item in [found.name for found in checked.result(part).items]


def test_what_a_hanging_part_had_started_ends_with_it(checked: Checked) -> None:
    (child,) = (item for item in checked.result("works.hangs").items if item.name == "a child")
    assert until(lambda: not lives(int(child.numbers["pid"])), patience=10)


def test_where_a_part_hung_is_in_its_log(checked: Checked) -> None:
    assert "bad_parts.py" in (checked.out / "parts" / "works.hangs.log").read_text()


def test_a_part_without_time_is_not_begun(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.gpu.check", "--out", tmp_path, "--device", "cpu", "--minutes", "0"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "not run" in run.stdout
    assert "no time was left" in run.stdout


def test_unknown_parts_are_refused(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.gpu.check", "--out", tmp_path, "--parts", "works,wrong"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert "unknown parts: wrong" in run.stderr


def test_items_are_on_disk_before_the_part_ends(tmp_path: Path) -> None:
    file = tmp_path / "part.json"
    findings = Findings("right.part", file, limit=60)
    findings.check("first", True, number=1.5)
    written = Result.read(file)
    assert (written.state, written.items[0].numbers) == ("running", {"number": 1.5})
    assert findings.end().state == "passed"
    assert Result.read(file).state == "passed"


def _check(out: Path, *only: str) -> Checked:
    run = subprocess.run(
        [sys.executable, "-m", "tests.gpu.bad_parts", out, *only], capture_output=True, text=True
    )
    return Checked(run.returncode, out, run.stdout)
