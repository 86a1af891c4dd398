"""The dashboards of one machine: where the servers of Prefect and MLflow are, and what they need."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.servers.embedded import QUIET
from flows.servers.services import Service, module
from jdn_core.errors import OwnedByAnother, StorageError, UsageError
from jdn_core.storage import durable

LOOPBACK = "127.0.0.1"
AUTH_FILE = "prefect-auth"
# Quiet on a terminal; here the output goes to a log file.
_MUTE = ("PREFECT_INTERNAL_LOGGING_LEVEL", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL")


@dataclass(frozen=True)
class Addresses:
    """The folder of the two servers' data and their ports, all on the loopback interface."""

    home: Path
    prefect_port: int
    mlflow_port: int

    @property
    def prefect(self) -> str:
        return f"http://{LOOPBACK}:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        return f"http://{LOOPBACK}:{self.mlflow_port}"

    @property
    def auth_file(self) -> Path:
        return self.home / AUTH_FILE

    @classmethod
    def choose(cls, home: Path, *, prefect_port: int | None, mlflow_port: int | None) -> Addresses:
        """Takes the ports that were asked for, else the usual ones, else free ones.

        Raises:
            UsageError: a port that was asked for is taken.
        """
        return cls(home, _port(prefect_port, usual=4200), _port(mlflow_port, usual=5000))


def environment(place: Addresses) -> dict[str, str]:
    """Returns the environment of the servers, the workers and the runs that they start.

    Databases are SQLite in the home unless ``PREFECT_API_DATABASE_CONNECTION_URL`` and
    ``MLFLOW_BACKEND_STORE_URI`` name others; what stands there never reaches a command line.
    """
    auth = _auth_string(place.auth_file)
    defaults = {name: value for name, value in QUIET.items() if name not in _MUTE} | {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{place.home / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(place.home / "mlartifacts"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",  # as deployments/prefect.yaml has it
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    ours = {
        "JDN_HOME": str(place.home),
        "PREFECT_HOME": str(place.home / "prefect"),
        "PREFECT_API_URL": f"{place.prefect}/api",
        "PREFECT_UI_URL": place.prefect,
        "PREFECT_API_AUTH_STRING": auth,
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": _own("http://{}", place.prefect_port),
        "MLFLOW_TRACKING_URI": place.mlflow,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": _own("{}", place.mlflow_port),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": _own("http://{}", place.mlflow_port),
    }
    return defaults | dict(os.environ) | ours


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Lets one process at a time run the servers of a home.

    Raises:
        OwnedByAnother: its servers run already.
    """
    try:
        with durable.own(home):
            yield
    except OwnedByAnother as error:
        raise OwnedByAnother(f"the servers of {home} run already: {error}") from None


def servers(place: Addresses) -> list[Service]:
    """Returns Prefect's and MLflow's servers."""
    prefect = [*module("prefect"), "server", "start", "--host", LOOPBACK, "--port", str(place.prefect_port)]
    mlflow = [*module("mlflow"), "server", "--host", LOOPBACK, "--port", str(place.mlflow_port)]
    return [
        Service("prefect", prefect, f"{place.prefect}/api/health"),
        Service("mlflow", [*mlflow, "--workers", "1"], f"{place.mlflow}/health"),
    ]


def workers() -> list[Service]:
    """Returns a worker for searches, and one for single pairs of a work pool, a pair at a time."""
    start = [*module("prefect"), "worker", "start", "--type", "process", "--pool"]
    return [
        Service("worker-jdn-search", [*start, "jdn-search"]),
        Service("worker-jdn", [*start, "jdn", "--limit", "1"]),
    ]


def _auth_string(file: Path) -> str:
    """Returns user and password for Prefect's pages; made at the first start, for this user alone."""
    try:
        if not file.is_file():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as opened:
                opened.write(f"jdn:{secrets.token_urlsafe(18)}")
        return file.read_text().strip()
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror or error}") from error


def _port(asked: int | None, *, usual: int) -> int:
    for port in (usual if asked is None else asked, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                if asked is not None:
                    raise UsageError(f"port {port} is taken: {error.strerror}") from None
                continue
            return int(probe.getsockname()[1])
    raise UsageError("no port is free")


def _own(form: str, port: int) -> str:
    return ",".join(form.format(f"{host}:{port}") for host in (LOOPBACK, "localhost"))
