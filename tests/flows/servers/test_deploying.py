"""Everything registered twice, and searches that a worker runs: killed, resumed by the server, given up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed, Pending, Running

from flows.inputs import settings_file
from flows.launch.resume_count import FILE, MOST, count
from flows.servers.deploying import deploy
from jdn_core.errors import InputMissing, ServiceUnavailable, UsageError
from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from jdn_core.storage import durable
from tests import results
from tests.flows import teamwork
from tests.flows.prefect_process import environment_of, server
from tests.processes import unmeasured, until
from tests.tiny_run import tiny_settings

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[3]
ITERATIONS = 6
Environment = dict[str, str]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A server of the module's own, which this process asks as well."""
    folder = tmp_path_factory.mktemp("house")
    environment = environment_of(folder / "prefect") | {"JDN_HOME": str(folder / "home")}
    asked = {PREFECT_API_URL: environment["PREFECT_API_URL"], PREFECT_CLIENT_MAX_RETRIES: 1}
    with server(environment), temporary_settings(asked):
        yield environment


def registered() -> dict[str, Any]:
    """What the server has, without the times of its own bookkeeping."""
    moments = {"created", "updated", "last_polled", "status"}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items() if name not in moments}
        return sorted(map(plain, value), key=str) if isinstance(value, list) else value

    with get_client(sync_client=True) as client:
        assert {each.version for each in client.read_deployments()} == {metadata.version("jdn")}
        found: list[Any] = [*client.read_deployments(), *client.read_automations(), *client.read_work_pools()]
    things = {f"{type(each).__name__} {each.name}": plain(each.model_dump(mode="json")) for each in found}
    assert len(things) == len(found)
    for thing in things.values():
        for schedule in thing.get("schedules", ()):
            del schedule["id"]  # Prefect's own command makes schedules anew
    return things


def test_both_commands_twice_change_nothing_the_second_time(house: Environment) -> None:
    first = {(each.kind, each.name): each.outcome for each in deploy()}
    assert set(first.values()) == {"new"}
    assert [kind for kind, _ in first] == 2 * ["work pool"] + 8 * ["deployment"] + 3 * ["automation"]
    before = registered()
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    for _ in range(2):
        subprocess.run(
            [*command, "--prefect-file", "deployments/prefect.yaml"],
            cwd=ROOT,
            env=house,
            check=True,
            capture_output=True,
        )
        assert registered() == before
    assert {each.outcome for each in deploy()} == {"unchanged"}
    assert registered() == before


def test_what_people_switched_in_the_dashboard_and_filled_into_forms_stays(
    house: Environment, tmp_path: Path
) -> None:
    deploy({"settings": tiny_settings(tmp_path).model_dump(mode="json"), "base": "a"})
    with get_client(sync_client=True) as client:
        client.pause_automation(client.read_automations_by_name("jdn publishes what completed")[0].id)
        nightly = client.read_deployment_by_name("search/search")
        client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=True)
        before = registered()
        assert {each.outcome for each in deploy()} == {"unchanged"}
        assert registered() == before
        parameters = client.read_deployment_by_name("upgrade/upgrade").parameters
        client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=False)
    assert parameters["settings"]["name"] == "tiny"
    assert "base" not in parameters


def test_a_notification_needs_a_block_that_is_there(house: Environment) -> None:
    CustomWebhookNotificationBlock(name="team", url="http://127.0.0.1:1").save("team")
    assert deploy(notify=["custom-webhook/team"])[-1].outcome == "new"
    again = deploy(notify=["custom-webhook/team"])
    assert again[-1].name == "jdn tells custom-webhook/team how runs end"
    assert {each.outcome for each in (*again, *deploy())} == {"unchanged"}
    with pytest.raises(InputMissing, match="has no block slack-webhook/nobody"):
        deploy(notify=["slack-webhook/nobody"])
    with pytest.raises(UsageError, match="TYPE/NAME"):
        deploy(notify=["team"])


def test_of_an_automation_that_is_there_twice_one_stays_and_those_of_others_are_left_alone(
    house: Environment,
) -> None:
    deploy()
    with get_client(sync_client=True) as client:
        ours = client.read_automations_by_name("jdn resumes what crashed")[0]
        for name in (ours.name, "jdn calls me"):
            client.create_automation(AutomationCore(**{**dict(ours), "name": name}))
        deploy()
        names = [each.name for each in client.read_automations()]
        client.delete_automation(client.read_automations_by_name("jdn calls me")[0].id)
    assert names.count(ours.name) == names.count("jdn calls me") == 1


def test_a_server_that_refuses_is_told_with_what_it_may_want() -> None:
    said = r"refuses: 501 .*PREFECT_API_AUTH_STRING"
    with (
        ear() as (address, _),
        temporary_settings({PREFECT_API_URL: f"{address}/api"}),
        pytest.raises(ServiceUnavailable, match=said),
    ):
        deploy()


def test_without_a_server_the_command_says_how_to_start_one(jdn: Callable[..., tuple[int, str, str]]) -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        code, _, said = jdn("deploy")
    assert code == 64
    assert "start one with `prefect server start`" in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teamwork.trained(tmp_path_factory.mktemp("trained"), iterations=ITERATIONS, workers=1)


@pytest.fixture(scope="module")
def worker(house: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real worker for coordinators; gives the file of what it says."""
    deploy()
    log = tmp_path_factory.mktemp("worker") / "log"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "jdn-search"]
    # The code under test, wherever the run's own directory is, as an installed package would be.
    environment = unmeasured(house) | {"PYTHONPATH": str(ROOT)}
    with (
        log.open("w") as said,
        subprocess.Popen(
            command, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        yield log
        os.killpg(process.pid, signal.SIGKILL)


def begin(deployment: str, parameters: dict[str, Any], *, state: State[Any] | None = None) -> FlowRun:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(f"{deployment}/{deployment}")
        return client.create_flow_run_from_deployment(found.id, parameters=parameters, state=state)


def crash(flow_run: FlowRun) -> None:
    """Tells the server what a worker does when a process is gone that ran."""
    with get_client(sync_client=True) as client:
        ways: list[State[Any]] = [Running(), Crashed(message="its process was killed")]
        for state in ways:
            client.set_flow_run_state(flow_run.id, state, force=True)


def runs_of(deployment: str) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(f"{deployment}/{deployment}")
        return [run for run in client.read_flow_runs() if run.deployment_id == found.id]


def resumed(search: FlowRun) -> FlowRun | None:
    """The run that an automation began for this one, once it has ended."""
    for run in runs_of("resume"):
        if run.parameters["search"] == str(search.id) and run.state and run.state.is_final():
            return run
    return None


def owner_of(folder: Path) -> int:
    """The process that a folder's lock names."""
    words = (folder / durable.LOCK_FILE).read_text().split()
    return int(next(word for word in words if word.isdecimal()))


def test_a_killed_search_is_resumed_by_the_server_and_ends_as_if_nothing_had_been(
    house: Environment, worker: Path, trained: Run, tmp_path: Path
) -> None:
    quiet = teamwork.quiet(trained, tmp_path / "quiet")
    places = {"base": str(trained.base), "pool": str(trained.pool)}
    begun = begin("search", {"settings": trained.settings.model_dump(mode="json"), **places})
    out = Path(house["JDN_HOME"]) / f"tiny-{str(begun.id)[:8]}"
    until(lambda: len(list(out.glob("pairs/*/pair.json"))) > 2, log=worker)
    os.kill(owner_of(out), signal.SIGKILL)
    again = until(lambda: resumed(begun), log=worker)
    assert again.state_name == "Completed"
    assert again.created_by is not None
    assert again.created_by.type == "AUTOMATION"
    assert results.digest(Records(out)) == quiet
    assert durable.read_json(out / FILE)["resumes"] == 1


@contextmanager
def ear() -> Iterator[tuple[str, list[str]]]:
    """Where a webhook may post to, and what it heard."""
    heard: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}", heard
        finally:
            listener.shutdown()
            thread.join()


def test_a_crash_that_repeats_is_given_up_and_told(
    house: Environment, worker: Path, trained: Run, tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text(settings_file.dump(trained.settings))
    for _ in range(MOST):
        count(tmp_path, automatic=True)
    settings = trained.settings.model_dump(mode="json")
    with ear() as (address, heard):
        hook = {"url": address, "json_data": {"text": "{{subject}} {{body}}"}}
        CustomWebhookNotificationBlock(name="ear", **hook).save("ear")
        deploy(notify=["custom-webhook/ear"])
        lost = begin("upgrade", {"settings": settings, "out": str(tmp_path)}, state=Pending())
        crash(lost)
        given_up = until(lambda: resumed(lost), log=worker)
        until(lambda: len(heard) == 2, log=worker)
    assert given_up.state_name == "Failed"
    assert "resumed 5 times by itself" in given_up.state.message
    assert "run `resume` by hand" in given_up.state.message
    assert f"upgrade {lost.name} is Crashed its process was killed" in heard[0]
    assert f"resume {given_up.name} is Failed" in heard[1]
    assert "resumed 5 times by itself" in heard[1]


def test_a_crash_that_repeats_before_there_is_a_folder_is_given_up_too(
    house: Environment, worker: Path, trained: Run
) -> None:
    deploy()
    lost = begin("upgrade", {"settings": trained.settings.model_dump(mode="json")}, state=Pending())
    for _ in range(MOST):
        lost = begin("resume", {"search": str(lost.id)}, state=Pending())
    crash(lost)
    given_up = until(lambda: resumed(lost), log=worker)
    assert given_up.state_name == "Failed"
    assert "resumed 5 times by itself" in given_up.state.message
