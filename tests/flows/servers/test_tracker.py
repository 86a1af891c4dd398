"""What keeps runs from MLflow is found in seconds, and doctor and a run say the same."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.servers import examination
from flows.servers.tracker import SECONDS, trouble


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "uri", ["", "sqlite:///mlflow.db", "sqlite:///file:{}/a%3F.db?uri=true", "sqlite://", "x://y"]
)
def test_what_may_work_is_no_trouble(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert trouble(uri.format(tmp_path)) is None


@pytest.mark.parametrize("uri", ["file:///srv/mlruns", "./mlruns", "mlruns", "/srv/mlruns"])
def test_a_store_of_plain_files_is_told_to_be_a_database(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = trouble(uri)
    assert found is not None
    assert found.remedy.startswith("use sqlite:///FILE")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert trouble(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:secret@127.0.0.1:9/",
        "https://127.0.0.1:9",
        "postgresql+psycopg2://me:secret@127.0.0.1:9/x",
        "mysql://127.0.0.1:9/x",
        "http://me:secret@no.such.host.invalid",
    ],
)
def test_a_server_that_is_gone_is_said_without_its_password(uri: str) -> None:
    found = trouble(uri)
    assert found is not None
    assert "secret" not in found.what
    assert found.remedy.endswith("or unset MLFLOW_TRACKING_URI")


def test_a_server_that_never_answers_is_given_up_in_seconds(silent: int) -> None:
    begun = time.monotonic()
    assert trouble(f"http://127.0.0.1:{silent}") is not None
    assert time.monotonic() - begun < SECONDS + 5


def test_a_database_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    found = trouble(f"sqlite:///{tmp_path}/gone/mlflow.db")
    assert found is not None
    assert found.what == f"{tmp_path}/gone: cannot be written"


@pytest.mark.parametrize("uri", ["file:///srv/mlruns", "http://127.0.0.1:9", "sqlite:////gone/mlflow.db"])
def test_doctor_says_what_a_run_says(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    [check] = examination._mlflow()
    assert check == ("mlflow server", "fail", *(trouble(uri) or ()))
