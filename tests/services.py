"""Both servers of a team for a test: Prefect's and MLflow's, on SQLite or on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.flows.prefect_process import environment_of, server
from tests.postgresql import Postgresql
from tests.tasks.tracking.servers import MlflowServer


@contextmanager
def servers(
    folder: Path, *, host: str = "127.0.0.1", database: Postgresql | None = None
) -> Iterator[dict[str, str]]:
    """Starts both; gives the environment of whom they serve.

    Args:
        folder: empty; their files lie there.
        host: the address on which they listen.
        database: of both, instead of SQLite's files.
    """
    environment = environment_of(folder / "prefect", host) | {"JDN_HOME": str(folder / "home")}
    if database is not None:
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = database.prefect
    mlflow = MlflowServer(folder, host=host, database=database.mlflow if database else None)
    environment["MLFLOW_TRACKING_URI"] = mlflow.uri
    mlflow.start()
    try:
        with server(environment):
            yield environment
    finally:
        mlflow.stop()
