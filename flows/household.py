"""Prefect's server, MLflow's server and workers on this machine: started together, watched, ended together.

All of them are one process group with a shell that reads a pipe from us. When we are gone, also after a
kill -9, the shell reads to its end and ends the group; workers end the runs that they started.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from flows.console import say
from flows.runs import QUIET
from jdn_core import durable
from jdn_core.errors import OwnedByAnother, ServiceUnavailable, StorageError, UsageError

LOOPBACK = "127.0.0.1"
AUTH_FILE = "prefect-auth"
_GUARD = 'trap "" TERM INT; read -r done; kill -s TERM 0; sleep 5; kill -s KILL 0'
_START = 240.0  # seconds until a server must answer; ten to twenty on an idle machine
_GRACE = 12.0  # seconds in which running searches save a checkpoint
# Quiet on a terminal; here they go to a log, which shall say something.
_MUTE = ("PREFECT_INTERNAL_LOGGING_LEVEL", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL")
_DEATHS, _WITHIN = 3, 120.0  # a service that dies so often in so many seconds is not started again


@dataclass(frozen=True)
class Addresses:
    """Where a household lives: its folder and the ports of its two servers, all on the loopback interface."""

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
        """The ports that were asked for, else the usual ones, else free ones.

        Raises:
            UsageError: a port that was asked for is taken.
        """
        return cls(home, _port(prefect_port, usual=4200), _port(mlflow_port, usual=5000))


def environment(place: Addresses) -> dict[str, str]:
    """Of the servers, the workers and the runs that they start.

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
    """One household in a home at a time.

    Raises:
        OwnedByAnother: its servers run already.
    """
    try:
        with durable.own(home):
            yield
    except OwnedByAnother as error:
        raise OwnedByAnother(f"the servers of {home} run already: {error}") from None


@dataclass
class Service:
    """A process that shall run as long as the household does."""

    name: str
    command: Sequence[str]
    health: str | None = None  # an address that answers once it is up
    process: subprocess.Popen[bytes] | None = None
    deaths: list[float] = field(default_factory=list)


def servers(place: Addresses) -> list[Service]:
    """Prefect's and MLflow's."""
    prefect = [*_module("prefect"), "server", "start", "--host", LOOPBACK, "--port", str(place.prefect_port)]
    mlflow = [*_module("mlflow"), "server", "--host", LOOPBACK, "--port", str(place.mlflow_port)]
    return [
        Service("prefect", prefect, f"{place.prefect}/api/health"),
        Service("mlflow", [*mlflow, "--workers", "1"], f"{place.mlflow}/health"),
    ]


def workers() -> list[Service]:
    """One for searches, and one for single pairs of searches that ask for a work pool, a pair at a time."""
    start = [*_module("prefect"), "worker", "start", "--type", "process", "--pool"]
    return [
        Service("worker-jdn-search", [*start, "jdn-search"]),
        Service("worker-jdn", [*start, "jdn", "--limit", "1"]),
    ]


class Household:
    """Services of one process group; use it as a context manager."""

    def __init__(self, environment: Mapping[str, str], *, logs: Path) -> None:
        self._environment = dict(environment)
        self._logs = logs
        self._services: list[Service] = []
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Household:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._guard = subprocess.Popen(["sh", "-c", _GUARD], stdin=subprocess.PIPE, process_group=0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        try:
            self._stop(_GRACE)
        finally:
            if not self._members():
                self._guard.kill()  # it has nobody to wait for
            self._guard.stdin.close()
            self._guard.wait()
            for service in self._services:
                if service.process is not None:
                    service.process.wait()

    def start(self, services: Sequence[Service]) -> None:
        """Starts them all at once and returns when each of them answers.

        Raises:
            ServiceUnavailable: one of them ended or did not answer; the end of its log is in the message.
        """
        for service in services:
            self._services.append(service)
            self._launch(service)
        deadline = time.monotonic() + _START
        for service in services:
            while service.health is not None and not _answers(service.health):
                if not _is_running(service) or time.monotonic() > deadline:
                    what = "did not answer" if _is_running(service) else "ended at once"
                    raise ServiceUnavailable(f"{service.name} {what}: {self._last_words(service)}")
                time.sleep(0.1)

    def watch(self) -> None:
        """Starts a service that has died again, and says so; returns never.

        Raises:
            ServiceUnavailable: it dies again and again.
        """
        while True:
            for service in self._services:
                if not _is_running(service):
                    self._again(service)
            time.sleep(0.5)

    def run(self, command: Sequence[str]) -> None:
        """Runs a command of ``jdn`` to its end.

        Raises:
            ServiceUnavailable: it failed; its words are in the message.
        """
        assert self._guard is not None
        done = subprocess.run(
            [*_module("flows.cli"), *command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            process_group=self._guard.pid,
        )
        if done.returncode:
            raise ServiceUnavailable(f"jdn {' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")

    def _launch(self, service: Service) -> None:
        assert self._guard is not None
        with self._log(service).open("ab") as log:
            service.process = subprocess.Popen(
                service.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._guard.pid,
            )

    def _again(self, service: Service) -> None:
        assert service.process is not None
        now = time.monotonic()
        service.deaths = [then for then in service.deaths if now - then < _WITHIN] + [now]
        code, log = service.process.returncode, self._log(service)
        if len(service.deaths) >= _DEATHS:
            words = self._last_words(service)
            raise ServiceUnavailable(f"{service.name} ended {_DEATHS} times, last with code {code}: {words}")
        say(f"{service.name} ended with code {code} and is started again; its log is {log}")
        self._launch(service)

    def _stop(self, grace: float) -> None:
        """Ends runs and workers first, so that servers hear their last words, and then the servers."""
        last = {s.process.pid for s in self._services if s.process is not None and s.health is not None}
        self._end(keep=last, within=grace)
        self._end(keep=(), within=5.0)

    def _end(self, *, keep: Collection[int], within: float) -> None:
        others = self._members(besides=keep)
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + within
        while self._members(besides=keep) and time.monotonic() < deadline:
            for service in self._services:
                _is_running(service)
            time.sleep(0.05)

    def _members(self, *, besides: Collection[int] = ()) -> list[int]:
        """All that we and they started, without the guard, ``besides`` and what these started."""
        assert self._guard is not None
        parents = dict(_processes())
        ours, others = _below({os.getpid()}, parents), _below({self._guard.pid, *besides}, parents)
        return sorted(ours - others - {os.getpid()})

    def _log(self, service: Service) -> Path:
        return self._logs / f"{service.name}.log"

    def _last_words(self, service: Service) -> str:
        lines = self._log(service).read_text(errors="replace").splitlines()
        return f"{' / '.join(lines[-3:])}; its log is {self._log(service)}"


def _below(roots: Collection[int], parents: Mapping[int, int]) -> set[int]:
    """These processes and all below them."""
    found = {*roots}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """(id, parent) of every process that lives, but for the one that lists them."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat=,comm="]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        pid, parent, state, name = line.split(maxsplit=3)
        if not state.startswith("Z") and name != "ps":
            yield int(pid), int(parent)


def _is_running(service: Service) -> bool:
    return service.process is not None and service.process.poll() is None


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _auth_string(file: Path) -> str:
    """User and password that Prefect's pages ask for once; made at the first start, for this user's eyes."""
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


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]
