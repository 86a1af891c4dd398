"""Services of one machine, such as servers and workers: started together, watched, ended together.

Each leads a process group of its own. psutil finds what they started, which is more than their own children:
Prefect's worker starts runs, and MLflow's server starts servers. An orphan guard ends all of it when this
process is gone, also after a kill -9.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import psutil

from flows.console import say
from flows.servers.health import health
from jdn_core.errors import ServiceUnavailable
from jdn_core.processes.orphans import OrphanGuard

_START = 240.0  # seconds until a server must answer; ten to twenty on an idle machine
_GRACE = 12.0  # seconds in which running searches save a checkpoint
_SERVER_GRACE = 5.0  # seconds in which a server ends
_DEATHS, _WITHIN = 3, 120.0  # a service that dies so often in so many seconds is not started again


@dataclass
class Service:
    """A process that runs until ``Services`` are left.

    Attributes:
        name: of its log.
        command: that starts it.
        health: an address that answers once it is up; none for what is no server.
        process: what runs now.
        deaths: when it died, by the monotonic clock.
    """

    name: str
    command: Sequence[str]
    health: str | None = None
    process: subprocess.Popen[bytes] | None = None
    deaths: list[float] = field(default_factory=list)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Services:
    """Services that live and end together; use it as a context manager.

    Args:
        environment: of all of them.
        logs: a folder for a file of each one's output.
    """

    def __init__(self, environment: Mapping[str, str], *, logs: Path) -> None:
        self._environment = dict(environment)
        self._logs = logs
        self._services: list[Service] = []
        self._guard = OrphanGuard(grace=_SERVER_GRACE)

    def __enter__(self) -> Services:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        servers = [service for service in self._services if service.health is not None]
        # Runs and their workers first, while Prefect's and MLflow's servers can still be told how they ended.
        _end([service for service in self._services if service.health is None], within=_GRACE)
        _end(servers, within=_SERVER_GRACE)
        self._guard.close()

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
                if not service.is_running() or time.monotonic() > deadline:
                    what = "did not answer" if service.is_running() else "ended at once"
                    raise ServiceUnavailable(f"{service.name} {what}: {self._log_end(service)}")
                time.sleep(0.1)

    def watch(self) -> None:
        """Starts a service that has died again, and says so; never returns.

        Raises:
            ServiceUnavailable: it dies again and again.
        """
        while True:
            for service in self._services:
                if not service.is_running():
                    self._restart(service)
            time.sleep(0.5)

    def run(self, command: Sequence[str]) -> None:
        """Runs a command of ``jdn`` to its end.

        Raises:
            ServiceUnavailable: it failed; its output is in the message.
        """
        done = subprocess.run(
            [*module("flows.cli.main"), *command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            process_group=0,
        )
        if done.returncode:
            raise ServiceUnavailable(f"jdn {' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")

    def _launch(self, service: Service) -> None:
        with self._log(service).open("ab") as log:
            service.process = subprocess.Popen(
                service.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C on a terminal is for us alone
            )
        self._guard.add(service.process.pid)

    def _restart(self, service: Service) -> None:
        assert service.process is not None
        now = time.monotonic()
        service.deaths = [then for then in service.deaths if now - then < _WITHIN] + [now]
        code, log = service.process.returncode, self._log(service)
        if len(service.deaths) >= _DEATHS:
            end = self._log_end(service)
            raise ServiceUnavailable(f"{service.name} ended {_DEATHS} times, last with code {code}: {end}")
        say(f"{service.name} ended with code {code} and is started again; its log is {log}")
        _end([service], within=_SERVER_GRACE)  # what it left behind would hold its port
        self._guard.remove(service.process.pid)
        self._launch(service)

    def _log(self, service: Service) -> Path:
        return self._logs / f"{service.name}.log"

    def _log_end(self, service: Service) -> str:
        lines = self._log(service).read_text(errors="replace").splitlines()
        return f"{' / '.join(lines[-3:])}; its log is {self._log(service)}"


def _end(services: Sequence[Service], *, within: float) -> None:
    """Ends services with all that they started; kills what is left after so many seconds."""
    processes = _members(services)
    _send(processes, signal.SIGTERM)
    deadline = time.monotonic() + within
    while any(map(_lives, processes)) and time.monotonic() < deadline:
        for service in services:
            service.is_running()  # reaps it
        time.sleep(0.05)
    _send(dict.fromkeys([*processes, *_members(services)]), signal.SIGKILL)
    for service in services:
        if service.process is not None:
            service.process.wait()


def _members(services: Sequence[Service]) -> list[psutil.Process]:
    """Returns the living processes of the services' groups, and all below these, parents first."""
    leaders = {service.process.pid for service in services if service.process is not None}
    found: dict[psutil.Process, None] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process not in found and os.getpgid(process.pid) in leaders:
                found |= dict.fromkeys([process, *process.children(recursive=True)])
    return [process for process in found if _lives(process)]


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _lives(process: psutil.Process) -> bool:
    """Says whether it has not ended; a zombie has ended, though in a container it may stay for ever."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _answers(address: str) -> bool:
    try:
        return health(address, seconds=2) == HTTPStatus.OK
    except ServiceUnavailable:
        return False


def module(name: str) -> list[str]:
    """Returns the beginning of a command that runs a module."""
    return [sys.executable, "-m", name]
