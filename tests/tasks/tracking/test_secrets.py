"""A password that MLflow's client is given reaches no file, no log and no screen."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jdn_core.errors import ServiceUnavailable
from jdn_core.run.folder import Run
from tasks.tracking import pages, sync
from tests.tasks.tracking.searches import made, send_all

PASSWORD = "correct-horse-battery"


def holders(folder: Path) -> list[str]:
    """Files below that hold the password."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if PASSWORD.encode() in path.read_bytes()]


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address, with user and password, of a port where nobody answers; given by the environment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://me:{PASSWORD}@127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        yield uri


def test_a_password_of_the_environment_is_published_nowhere(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    with caplog.at_level(logging.DEBUG):
        assert send_all(run)[:3] == (6, 0, "")
    assert holders(run.folder) == []
    assert PASSWORD not in caplog.text


def test_a_password_in_the_environments_address_is_not_repeated_when_nobody_answers(
    tmp_path: Path, locked: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = made(tmp_path / "search")
    with caplog.at_level(logging.INFO):
        publication = send_all(run, timeout=30)
    with pytest.raises(ServiceUnavailable) as caught:
        sync(run, state="interrupted")
    said = " ".join([publication.error, str(caught.value), caplog.text, str(pages.where(run))])
    assert publication.error
    assert PASSWORD not in said
    assert holders(run.folder) == []
