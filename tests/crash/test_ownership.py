"""Two processes resume one search at the same moment: one runs, the other ends at once."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from flows.inputs import settings_file
from jdn_core.storage import durable
from tests.tiny_run import shapes, tiny_settings

pytestmark = pytest.mark.crash
ROOT = Path(__file__).parents[2]


def test_in_a_hundred_races_there_is_one_owner_and_the_other_is_out_within_two_seconds(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "tests.crash.races", str(tmp_path), "100"]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    races = [json.loads(line) for line in told.splitlines()]
    assert len(races) == 100
    assert {(race["loser"], race["winner"]) for race in races} == {(75, 0)}
    assert max(race["seconds"] for race in races) < 2


def test_the_command_line_names_the_owner_before_prefect_starts(tmp_path: Path) -> None:
    settings = tiny_settings(shapes(tmp_path / "data"))
    search = tmp_path / "search"
    search.mkdir()
    (search / "settings.yaml").write_text(settings_file.dump(settings))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with durable.own(search):
        command = [sys.executable, "-m", "flows.cli.main", "resume", str(search)]
        loser = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert loser.returncode == 75, loser.stderr
    assert loser.stderr.startswith("ERROR 75 search search is owned by pid ")
    assert after.ru_utime - before.ru_utime < 2  # of computing; how long that takes is the machine's
