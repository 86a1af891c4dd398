"""Hosts of their own on one machine: network namespaces joined by a bridge, each with an address."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

_NETWORK = "10.77.0"
_CLONE_NEWNET = 0x40000000  # of <linux/sched.h>
_LIBC = ctypes.CDLL(None, use_errno=True)


def available() -> bool:
    """Whether this process may make namespaces; asked by making one."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with network([]):
            return True
    except subprocess.CalledProcessError:
        return False


class Network:
    """A hub and hosts around it; every link ends at the hub's bridge, nothing else is reachable."""

    def __init__(self, hosts: list[str]) -> None:
        self._prefix = f"jdn-{uuid4().hex[:10]}"
        self._hosts = ["hub", *hosts]

    def address(self, host: str) -> str:
        return f"{_NETWORK}.{1 + self._hosts.index(host)}"

    def command(self, host: str, *words: str) -> list[str]:
        """The command line that runs a command on a host."""
        return ["ip", "netns", "exec", self._name(host), *words]

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """The calling thread, and what it starts, is on a host while the block runs."""
        with open("/proc/thread-self/ns/net") as here:
            _enter(Path("/run/netns") / self._name(host))
            try:
                yield
            finally:
                _enter(here.fileno())

    def cut(self, host: str) -> None:
        """Pulls a host's cable out of the hub: what is sent is lost, and nobody is told."""
        _ip("-n", self._name("hub"), "link", "set", f"to-{self._hosts.index(host)}", "down")

    def processes(self, host: str) -> list[int]:
        """Ids of the processes that run on a host."""
        told = subprocess.run(
            ["ip", "netns", "pids", self._name(host)], capture_output=True, text=True, check=True
        )
        return [int(process) for process in told.stdout.split()]

    def build(self) -> None:
        for host in self._hosts:
            name = self._name(host)
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        hub = self._name("hub")
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "address", "add", f"{self.address('hub')}/24", "dev", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for host in self._hosts[1:]:
            name, port = self._name(host), f"to-{self._hosts.index(host)}"
            _ip("link", "add", port, "netns", hub, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", hub, "link", "set", port, "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Ends what still runs on the hosts and takes them down, those that were made."""
        for host in self._hosts:
            name = self._name(host)
            if not (Path("/run/netns") / name).exists():
                continue
            for process in self.processes(host):
                if process != os.getpid():
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            _ip("netns", "delete", name)

    def _name(self, host: str) -> str:
        return f"{self._prefix}-{host}"


@contextmanager
def network(hosts: list[str]) -> Iterator[Network]:
    """A network that is gone afterwards, whatever happened."""
    made = Network(hosts)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def _enter(namespace: Path | int) -> None:
    descriptor = namespace if isinstance(namespace, int) else os.open(namespace, os.O_RDONLY)
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        if not isinstance(namespace, int):
            os.close(descriptor)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
