"""What the fast tier may not do, and that each test is in one tier."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import tiers


def item(name: str, *marks: str, fixtures: tuple[str, ...] = ()) -> Any:
    """What of pytest's items the tiers look at."""
    own = set(marks)
    return SimpleNamespace(
        nodeid=name,
        path=Path(name.partition("::")[0]),
        fixturenames=fixtures,
        add_marker=own.add,
        get_closest_marker=lambda mark: mark if mark in own else None,
    )


@pytest.mark.parametrize(
    "command",
    [
        ["mlflow", "server", "--port", "0"],
        [sys.executable, "-m", "mlflow", "server"],
        ["prefect", "server", "start"],
        ["jdn", "ui", "--with-worker"],
        [sys.executable, "-m", "uvicorn", "prefect.server.api.server:create_app"],
        ["/usr/lib/postgresql/15/bin/initdb", "-D", "data"],
    ],
    ids=lambda command: " ".join(command[-3:]),
)
def test_the_fast_tier_starts_no_server(command: list[str]) -> None:
    with pytest.raises(RuntimeError, match="is in the fast tier and starts a server"):
        subprocess.Popen(command)


def test_the_fast_tier_starts_other_processes() -> None:
    assert subprocess.run([sys.executable, "-c", "pass"], check=False).returncode == 0


def test_a_command_of_the_fast_tier_embeds_no_server_of_prefects() -> None:
    code = "from prefect.settings import get_current_settings as now; print(now().server.ephemeral.enabled)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def test_a_test_in_two_tiers_ends_the_run() -> None:
    with pytest.raises(pytest.UsageError, match=r"tests in two tiers: a\.py::both"):
        tiers.sort_into_tiers([item("a.py::one", "slow"), item("a.py::both", "slow", "crash")])


def test_a_test_with_prefects_server_is_one_of_services() -> None:
    asking = item("a.py::asks", fixtures=("tmp_path", "prefect_server"))
    tiers.sort_into_tiers([asking])
    assert tiers.tiers_of(asking) == ["services"]


def test_slow_files_come_first_and_in_one_piece() -> None:
    items = [item("a.py::quick"), item("b.py::quick"), item("b.py::slow", "slow"), item("c.py::x", "browser")]
    tiers.sort_into_tiers(items)
    assert [each.nodeid for each in items] == ["b.py::quick", "b.py::slow", "c.py::x", "a.py::quick"]


def test_the_markers_are_the_tiers(pytestconfig: pytest.Config) -> None:
    ours = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert set(tiers.TIERS) <= ours


def test_make_leaves_out_of_the_fast_tier_what_has_a_marker() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert f"SLOW := {' or '.join(tiers.TIERS)}\n" in makefile
