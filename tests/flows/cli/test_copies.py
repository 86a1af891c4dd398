"""`jdn sync` and `jdn verify` from outside: answers, exit codes, and who may call them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jdn_core.storage import durable
from tests.made_up_search import keep, make_records
from tests.tasks.tracking.searches import made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "search").folder


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tracking server that does not answer."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")
        yield


def jdn(command: str, folder: Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON answer and standard error; in another process, as only one may own a search."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", command, str(folder), "--json"],
        capture_output=True,
        text=True,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def test_sync_sends_what_is_new_and_counts(folder: Path) -> None:
    code, first, _ = jdn("sync", folder)
    assert (code, first["sent"], first["known"], first["missing"]) == (0, 6, 6, 0)
    for record in make_records(6, failing={2})[4:]:
        keep(record, folder)
    code, second, _ = jdn("sync", folder)
    assert (code, second["sent"], second["known"], second["missing"]) == (0, 2, 8, 0)
    assert second["mlflow"]["search"] == first["mlflow"]["search"]


def test_sync_without_a_server_is_69_and_a_resumable_state(folder: Path, nobody: None) -> None:
    code, answer, err = jdn("sync", folder)
    assert (code, answer["error"]["code"]) == (69, 69)
    assert "ERROR 69 MLflow at http://127.0.0.1:" in err
    assert "does not answer" in err


@pytest.mark.parametrize(
    ("command", "advice"),
    [("sync", "a search that runs tells MLflow by itself"), ("verify", "wait for its end")],
)
def test_a_search_that_runs_is_left_alone(command: str, advice: str, folder: Path) -> None:
    with durable.own(folder):
        code, _, err = jdn(command, folder)
    assert code == 75
    assert advice in err


def test_verify_without_a_server_still_tells_of_the_folder(folder: Path, nobody: None) -> None:
    for made_up in ("base", "pool", "pairs"):
        shutil.rmtree(folder / made_up)
    code, answer, _ = jdn("verify", folder)
    assert (code, answer["ok"], answer["problems"]) == (69, False, [])
    assert "does not answer" in answer["mlflow"]


def test_verify_names_what_is_wrong_and_exits_65(folder: Path) -> None:
    jdn("sync", folder)
    code, answer, _ = jdn("verify", folder)
    assert (code, answer["ok"], answer["records"], answer["mlflow"]) == (65, False, 4, "compared")
    first = answer["problems"][0]
    assert (first["file"], first["what"]) == ("base", "cannot be loaded")
    assert "--from-mlflow" in first["remedy"]
