"""Every container's command as a plain process, PostgreSQL included: what the files say, other addresses."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tests.docker.composed import DOCKER, entrypoint, health_command, image_environment, services
from tests.postgresql import Postgresql, binaries, postgresql
from tests.processes import until
from tests.tasks.tracking.servers import free_port
from tests.tiny_run import shapes, tiny_settings

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(600),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
]
AUTH = "jdn:what-the-file-says"
GRACE = 30  # seconds that compose.yaml gives a container to end


class Containers:
    """The services of compose.yaml on this machine: their ports are free ones, their paths in a folder."""

    def __init__(self, folder: Path, database: Postgresql) -> None:
        self._folder = folder
        self._secrets = shutil.copytree(database.secrets, folder / "secrets")
        for name in ("prefect_auth", "s3_access_key", "s3_secret_key"):
            (self._secrets / name).write_text(AUTH if name == "prefect_auth" else name)
        self.prefect, self.mlflow = free_port(), free_port()
        self._replaced = {
            "@postgres:5432": f"@127.0.0.1:{database.port}",
            "/run/secrets": str(self._secrets),
            "/artifacts": str(folder / "artifacts"),
            "/srv/jdn": str(folder / "jdn"),
            "/data": "",  # the settings of the test name a dataset
            "0.0.0.0": "127.0.0.1",
            "prefect:4200": f"127.0.0.1:{self.prefect}",
            "4200": str(self.prefect),
            "http://mlflow:5000": f"http://127.0.0.1:{self.mlflow}",
            "port=5000": f"port={self.mlflow}",
            "127.0.0.1:5000": f"127.0.0.1:{self.mlflow}",
        }

    def environment(self, name: str) -> dict[str, str]:
        """Nothing of this process's but what a program cannot do without; each worker's health has a port."""
        kept = {key: os.environ[key] for key in ("LANG",) if key in os.environ}
        health = str(free_port())
        said = image_environment() | services()[name].get("environment", {})
        mine = {key: self._put(value).replace("8080", health) for key, value in said.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = self._folder / "jdn"
        home.mkdir(exist_ok=True)
        return kept | mine | {"PATH": path, "HOME": str(home), "PREFECT_HOME": str(home / ".prefect")}

    @contextmanager
    def running(self, name: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
        """The service's process, healthy, and its environment; at the end it gets `stop`'s SIGTERM."""
        environment = self.environment(name)
        log = self._folder / f"{name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                self.command(name), env=environment, cwd=self._folder, stdout=said, stderr=said
            )
        try:
            until(lambda: healthy(environment), beside=process, log=log)
            yield process, environment
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(GRACE)
            finally:
                process.kill()

    def command(self, name: str) -> list[str]:
        """The image's entrypoint and the service's command; tini is left out where it is not installed."""
        tini, dashes, script = entrypoint()
        assert script == "jdn-entrypoint"
        before = [tini, dashes] if shutil.which(tini) else []
        command = [self._put(word) for word in services()[name]["command"]]
        return [*before, str(DOCKER / "entrypoint.sh"), *command]

    def _put(self, text: str) -> str:
        for said, here in self._replaced.items():
            text = text.replace(said, here)
        return text


def healthy(environment: Mapping[str, str]) -> bool:
    """What the image's HEALTHCHECK says."""
    _, script = health_command()
    command = [sys.executable, str(DOCKER / Path(script).name)]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def ask(url: str, *, auth: str = "", body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and content of an answer."""
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            content = reply.read()
            return reply.status, json.loads(content) if content[:1] in b"[{" else content
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """PostgreSQL, both servers, and what `deploy` registers."""
    with ExitStack() as stack:
        made = Containers(tmp_path_factory.mktemp("containers"), stack.enter_context(postgresql()))
        stack.enter_context(made.running("mlflow"))
        stack.enter_context(made.running("prefect"))
        yield made


def test_the_servers_keep_their_tables_in_postgresql(containers: Containers) -> None:
    folder = containers._folder
    assert list(folder.rglob("*.db")) == []
    status, _ = ask(f"http://127.0.0.1:{containers.mlflow}/api/2.0/mlflow/experiments/search?max_results=5")
    assert status == 200


def test_prefect_answers_only_those_who_know_the_secret(containers: Containers) -> None:
    url = f"http://127.0.0.1:{containers.prefect}/api"
    assert ask(f"{url}/health")[0] == 200
    assert ask(f"{url}/admin/version")[0] == 401
    assert ask(f"{url}/admin/version", auth=AUTH)[0] == 200


def test_prefect_refuses_changes_that_another_page_sends(containers: Containers) -> None:
    url = f"http://127.0.0.1:{containers.prefect}/api"
    assert ask(f"{url}/work_pools/", auth=AUTH, body={"name": "theirs", "type": "process"})[0] == 403
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}/health", headers={"Origin": "https://elsewhere.example"})
    ) as reply:
        assert reply.headers["Access-Control-Allow-Origin"] is None


def test_mlflow_refuses_foreign_hosts_and_takes_the_name_that_workers_use(containers: Containers) -> None:
    url = f"http://127.0.0.1:{containers.mlflow}/api/2.0/mlflow/experiments/search?max_results=5"
    assert ask(url, Host="mlflow:5000")[0] == 200
    assert ask(url, Host="elsewhere.example")[0] == 403
    assert ask(url, Origin="https://elsewhere.example", body={"max_results": 5})[0] == 403


def test_no_secret_stands_in_a_command_line(containers: Containers) -> None:
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout
    secrets = [AUTH]
    secrets += [(containers._secrets / f"{name}_database").read_text() for name in ("prefect", "mlflow")]
    assert [secret for secret in secrets if secret.encode() in lines] == []


@pytest.fixture(scope="module")
def deployed(containers: Containers) -> Containers:
    """Twice: a container that is started again must change nothing."""
    said: dict[str, Any] = {"capture_output": True, "text": True, "cwd": "/", "check": False}
    for _ in range(2):
        environment = containers.environment("deploy")
        done = subprocess.run(containers.command("deploy"), env=environment, **said)
        assert done.returncode == 0, done.stdout + done.stderr
    return containers


def test_deploy_registers_both_pools(deployed: Containers) -> None:
    url = f"http://127.0.0.1:{deployed.prefect}/api"
    for pool in ("jdn-search", "jdn"):
        status, found = ask(f"{url}/work_pools/{pool}", auth=AUTH)
        assert (status, found["type"]) == (200, "process")


@pytest.mark.parametrize("name", ["search-worker", "pair-worker", "gpu-0"])
def test_a_worker_joins_its_pool_and_goes_when_it_is_stopped(deployed: Containers, name: str) -> None:
    command = services()[name]["command"]
    pool = command[command.index("--pool") + 1]
    url = f"http://127.0.0.1:{deployed.prefect}/api/work_pools/{pool}"
    with deployed.running(name) as (process, _):
        log = deployed._folder / f"{name}.log"
        until(lambda: "started!" in log.read_text(), beside=process, log=log)
        until(lambda: ask(url, auth=AUTH)[1]["status"] == "READY", beside=process, log=log)
    assert process.returncode in (0, -signal.SIGTERM, 143)


def ended(client: SyncPrefectClient, flow_run: UUID) -> State[Any] | None:
    """A flow run's last state."""
    state = client.read_flow_run(flow_run).state
    return state if state and state.is_final() else None


def test_the_workers_run_an_upgrade_that_a_form_started(deployed: Containers, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{deployed.prefect}/api"
    settings = tiny_settings(shapes(tmp_path / "shapes"), iterations=2, search={"evaluator": "work_pool"})
    parameters = {"settings": settings.model_dump(mode="json")}
    with ExitStack() as stack:
        stack.enter_context(temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: AUTH}))
        client = stack.enter_context(get_client(sync_client=True))
        form = client.read_deployment_by_name("upgrade/upgrade")
        begun = client.create_flow_run_from_deployment(form.id, parameters=parameters)
        for name in ("search-worker", "pair-worker"):
            stack.enter_context(deployed.running(name))
        state = until(
            lambda: ended(client, begun.id), patience=400, log=deployed._folder / "search-worker.log"
        )
    assert state.is_completed(), state.message
    pairs = {"filter": "tags.`jdn.kind` = 'pair'", "max_results": 10, "experiment_ids": ["1"]}
    _, found = ask(f"http://127.0.0.1:{deployed.mlflow}/api/2.0/mlflow/runs/search", body=pairs)
    assert len(found["runs"]) == 3
    assert list((deployed._folder / "jdn" / "runs").glob("tiny-*/report/index.html"))
