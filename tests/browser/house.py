"""`jdn ui --with-worker` for a test, on free ports and in a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.servers.dashboards import AUTH_FILE
from tests.postgresql import Postgresql
from tests.processes import unmeasured
from tests.tasks.tracking.servers import free_port


@dataclass(frozen=True)
class House:
    """What one needs to use it: addresses, password, and the environment of other commands."""

    prefect: str
    mlflow: str
    home: Path
    auth: str
    process: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "JDN_HOME": str(self.home),
            "MLFLOW_TRACKING_URI": self.mlflow,
            "PREFECT_API_URL": f"{self.prefect}/api",
            "PREFECT_API_AUTH_STRING": self.auth,
            "PREFECT_HOME": str(self.home / "prefect"),
        }

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """Of its Prefect server."""
        where = {PREFECT_API_URL: f"{self.prefect}/api", PREFECT_API_AUTH_STRING: self.auth}
        with temporary_settings(where), get_client(sync_client=True) as client:
            yield client


def begin(home: Path, *options: str, database: Postgresql | None = None) -> subprocess.Popen[str]:
    """Starts the command; what it says are its pipes."""
    environment = unmeasured() | {"JDN_HOME": str(home), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    if database is not None:
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = database.prefect
        environment["MLFLOW_BACKEND_STORE_URI"] = database.mlflow
    command = [sys.executable, "-m", "flows.cli.main", "ui", *options, "--json"]
    ports = ["--prefect-port", str(free_port()), "--mlflow-port", str(free_port())]
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *ports], stdout=pipe, stderr=pipe, text=True, env=environment)


@contextmanager
def house(home: Path, *options: str, database: Postgresql | None = None) -> Iterator[House]:
    """All of it, from its first word to its end."""
    with begin(home, *options, database=database) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            said = json.loads(process.stdout.readline() or "{}")
            assert "prefect" in said, (said, process.stderr.read())
            auth = (home / AUTH_FILE).read_text()
            yield House(said["prefect"], said["mlflow"], home, auth, process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
