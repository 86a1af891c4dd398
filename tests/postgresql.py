"""A PostgreSQL server of a test's own, with the two databases that a team's servers have."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import until
from tests.tasks.tracking.servers import free_port

_USER = "postgres"  # of Debian's package: PostgreSQL refuses to run as root
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
DATABASES = Path(__file__).parents[1] / "docker" / "databases.sh"


@dataclass(frozen=True)
class Postgresql:
    """Where a server listens, and the files with its secrets, named as compose.yaml names them."""

    port: int
    secrets: Path

    @property
    def mlflow(self) -> str:
        return self._url("postgresql", "mlflow")

    @property
    def prefect(self) -> str:
        return self._url("postgresql+asyncpg", "prefect")

    def _url(self, driver: str, name: str) -> str:
        password = (self.secrets / f"{name}_database").read_text()
        return f"{driver}://{name}:{password}@127.0.0.1:{self.port}/{name}"


def binaries() -> Path | None:
    """Folder of PostgreSQL's programs, the newest of Debian's; None where it is not installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    if debian:
        return debian[-1]
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """A real server on the loopback interface, in a folder that goes with it.

    The databases are made by the script that the container runs.
    """
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="jdn-postgresql-"))
    secrets = folder / "secrets"
    secrets.mkdir()
    for name in ("postgres", "prefect_database", "mlflow_database"):
        (secrets / name).write_text(f"password-of-{name}")
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)
        owner = {"user": _USER, "group": _USER, "extra_groups": []}
    try:
        data = str(folder / "data")
        initdb = [str(programs / "initdb"), "-D", data, "-U", _USER, "-E", "UTF8", "--no-sync"]
        initdb += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **owner)
        port = free_port()
        command = [str(programs / "postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port)]
        command += ["-k", str(folder)]
        for setting in _QUICK:
            command += ["-c", setting]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **owner)
        try:
            ready = [str(programs / "pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", str(port)]
            until(
                lambda: subprocess.run(ready, check=False).returncode == 0, beside=server, log=folder / "log"
            )
            environment = os.environ | {
                "POSTGRES_USER": _USER,
                "PGHOST": str(folder),
                "PGPORT": str(port),
                "JDN_SECRETS": str(secrets),
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            }
            subprocess.run(["bash", str(DATABASES)], check=True, env=environment)
            yield Postgresql(port, secrets)
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()
    finally:
        shutil.rmtree(folder)
