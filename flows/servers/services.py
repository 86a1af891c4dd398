"""Services of one machine, such as servers and workers: started together, watched, ended together.

All of them are one process group with a shell that reads a pipe from us. When we are gone, also after a
kill -9, the shell reads to its end and ends the group; workers end the runs that they started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from flows.console import say
from jdn_core.errors import ServiceUnavailable

_GUARD = 'trap "" TERM INT; read -r done; kill -s TERM 0; sleep 5; kill -s KILL 0'
_START = 240.0  # seconds until a server must answer; ten to twenty on an idle machine
_GRACE = 12.0  # seconds in which running searches save a checkpoint
_DEATHS, _WITHIN = 3, 120.0  # a service that dies so often in so many seconds is not started again


@dataclass
class Service:
    """A process that shall run as long as the household does."""

    name: str
    command: Sequence[str]
    health: str | None = None  # an address that answers once it is up
    process: subprocess.Popen[bytes] | None = None
    deaths: list[float] = field(default_factory=list)


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
            [*module("flows.cli.main"), *command],
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
        """The group's processes and all below them; without the guard, ``besides`` and what these started."""
        assert self._guard is not None
        living = [*_processes()]
        parents = {process.id: process.parent for process in living}
        group = {process.id for process in living if process.group == self._guard.pid}
        return sorted(_below(group, parents) - _below({self._guard.pid, *besides}, parents))

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


class _Process(NamedTuple):
    id: int
    parent: int
    group: int


def _processes() -> Iterator[_Process]:
    """Every process that lives, but for the one that lists them."""
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,comm="]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        *ids, state, name = line.split(maxsplit=4)
        if not state.startswith("Z") and name != "ps":
            yield _Process(*map(int, ids))


def _is_running(service: Service) -> bool:
    return service.process is not None and service.process.poll() is None


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def module(name: str) -> list[str]:
    """The beginning of a command that runs a module."""
    return [sys.executable, "-m", name]
