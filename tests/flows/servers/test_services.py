"""What `jdn ui` starts and ends, with small processes for servers; tests/browser has the real ones."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows.servers.dashboards import AUTH_FILE, Addresses, alone, environment, servers
from flows.servers.services import Service, Services
from jdn_core.errors import OwnedByAnother, ServiceUnavailable, UsageError
from tests.processes import descendants, lives, until

SLEEPER = ["sleep", "1000"]
OWNER = """
import sys
from pathlib import Path
from flows.servers.services import Service, Services
with Services(dict(__import__("os").environ), logs=Path(sys.argv[1])) as services:
    services.start([Service("a", ["sleep", "1000"]), Service("b", ["sh", "-c", "sleep 1000 & wait"])])
    print("up", flush=True)
    sys.stdin.read()
"""


def place(home: Path) -> Addresses:
    return Addresses(home, 4200, 5000)


def pid(service: Service) -> int:
    assert service.process is not None
    return service.process.pid


def test_at_the_end_nothing_is_left(tmp_path: Path) -> None:
    family = Service("family", ["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
    with Services(os.environ, logs=tmp_path) as services:
        services.start([Service("alone", SLEEPER), family])
        until(lambda: len(descendants(pid(family))) == 3)
        all_of_them = [pid(services._services[0]), *descendants(pid(family))]
    assert not any(map(lives, all_of_them))


def test_other_processes_of_its_owner_live_on(tmp_path: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        with Services(os.environ, logs=tmp_path) as services:
            services.start([Service("alone", SLEEPER)])
        assert other.poll() is None


def test_a_kill_9_leaves_nothing_either(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        until(lambda: len(descendants(owner.pid)) >= 5)  # itself, the guard, two services, a sleep below one
        all_of_them = descendants(owner.pid)
        owner.kill()
        until(lambda: not any(map(lives, all_of_them)))


def test_what_dies_is_started_again_until_it_dies_too_often(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weak = Service("weak", ["sh", "-c", "echo too weak; exit 3"])
    with Services(os.environ, logs=tmp_path) as services:
        services.start([weak])
        with pytest.raises(ServiceUnavailable, match=r"weak ended 3 times, last with code 3: .*too weak"):
            services.watch()
    assert capfd.readouterr().err.count("is started again") == 2


def test_a_server_that_ends_at_once_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = Service("broken", ["sh", "-c", "echo no such database"], health="http://127.0.0.1:1/health")
    with (
        Services(os.environ, logs=tmp_path) as services,
        pytest.raises(ServiceUnavailable, match="broken ended at once: no such database; its log is "),
    ):
        services.start([broken])


@pytest.mark.services
def test_a_wish_to_stop_ends_it_with_its_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.cli.main", "ui", "--json"]
    home = os.environ | {"JDN_HOME": str(tmp_path)}
    with subprocess.Popen(command, env=home, stderr=subprocess.PIPE, text=True) as owner:
        assert owner.stderr is not None
        assert "starting the servers" in owner.stderr.readline()
        until((tmp_path / "logs").is_dir)
        owner.send_signal(signal.SIGTERM)
        assert "stopped by SIGTERM" in owner.stderr.read()
    assert owner.returncode == 143


def test_the_usual_ports_give_way_but_not_those_that_were_asked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is taken"):
            Addresses.choose(tmp_path, prefect_port=port, mlflow_port=None)
    free = Addresses.choose(tmp_path, prefect_port=port, mlflow_port=None)
    assert free.prefect == f"http://127.0.0.1:{port}"


def test_the_password_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    first = environment(place(tmp_path))
    second = environment(place(tmp_path))
    auth = first["PREFECT_API_AUTH_STRING"]
    assert second["PREFECT_SERVER_API_AUTH_STRING"] == auth
    assert (tmp_path / AUTH_FILE).stat().st_mode & 0o777 == 0o600
    assert not any(auth in part for service in servers(place(tmp_path)) for part in service.command)


def test_the_servers_listen_to_this_machine_alone(tmp_path: Path) -> None:
    found = environment(place(tmp_path))
    assert all("127.0.0.1" in service.command for service in servers(place(tmp_path)))
    assert found["MLFLOW_SERVER_ALLOWED_HOSTS"] == "127.0.0.1:5000,localhost:5000"
    assert "*" not in found["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"]
    assert found["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"


def test_databases_of_the_environment_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment(place(tmp_path))["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql://tracker/mlflow")
    assert environment(place(tmp_path))["MLFLOW_BACKEND_STORE_URI"] == "postgresql://tracker/mlflow"


def test_the_servers_of_a_home_run_once(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(OwnedByAnother, match="run already"), alone(tmp_path):
        pass
