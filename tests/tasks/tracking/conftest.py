"""Searches to publish, and servers to publish them to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.inputs import settings_file
from jdn_core.run.folder import Run
from tests.tasks.tracking.searches import climb, made, trained
from tests.tasks.tracking.servers import MlflowServer
from tests.tiny_run import shapes, tiny_settings

PAIRS = 4


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a row; their sixty migrations take seconds, so they are run once."""
    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def run(tmp_path: Path, empty_database: Path) -> Run:
    """A made-up search, and an empty database in its folder."""
    run = made(tmp_path / "search")
    shutil.copyfile(empty_database, run.folder / "mlflow.db")
    return run


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny real search of four pairs that MLflow never heard of; tests take copies of it."""
    folder = tmp_path_factory.mktemp("searched")
    run = trained(tiny_settings(shapes(folder / "shapes"), iterations=PAIRS), folder / "run")
    (run.folder / "settings.yaml").write_text(settings_file.dump(run.settings))
    climb(run, PAIRS)
    return run


@pytest.fixture
def search(searched: Run, tmp_path: Path, empty_database: Path) -> Run:
    """A copy of the tiny search, and an empty database in its folder."""
    folder = shutil.copytree(searched.folder, tmp_path / "search")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return Run(searched.settings, folder)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[MlflowServer]:
    """One server for all tests that need a real one; each of them has searches of its own."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, folder / "server.db")
    server = MlflowServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that repeats at once, so that tests of failures take seconds."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
