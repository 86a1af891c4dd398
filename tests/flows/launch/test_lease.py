"""One owner of a search across hosts, at real Prefect servers: second owners, kills, restarts."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.launch.lease import leased
from jdn_core.errors import OwnedByAnother
from jdn_core.storage import durable
from tests.flows.prefect_process import environment_of, server
from tests.processes import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

HOLD = """
import sys
from pathlib import Path
from flows.launch.lease import leased

with leased(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def two_hosts(root: Path) -> tuple[Path, Path]:
    """Two folders with one search, as on two hosts."""
    search = {"id": str(uuid4())}
    for name in ("here", "there"):
        (root / name).mkdir(parents=True)
        durable.write_json(root / name / "search.json", search, schema=1)
    return root / "here", root / "there"


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[Path, Path]:
    return two_hosts(tmp_path)


def name_of(folder: Path) -> str:
    return f"search-{durable.read_json(folder / 'search.json')['id']}"


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where a server of the test's own shall listen; this process asks it, and again while it is busy."""
    environment = environment_of(tmp_path / "prefect")
    with temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"], PREFECT_CLIENT_MAX_RETRIES: 4}):
        yield environment


def refused(folder: Path) -> str:
    """What a second owner hears."""
    with pytest.raises(OwnedByAnother) as raised, leased(folder):
        pass
    return str(raised.value)


def kill_a_holder(folder: Path) -> None:
    """A process that holds the lease of a folder's search until a kill -9."""
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, text=True, env=environment, **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout.readline() == "held\n"
        child.kill()


def holders(client: SyncPrefectClient, name: str) -> list[UUID]:
    try:
        return client.read_concurrency_limit_by_tag(name).active_slots
    except ObjectNotFound:
        return []


@pytest.mark.usefixtures("prefect_server")
def test_a_second_host_is_refused_within_two_seconds_and_may_go_on_after_the_first(
    hosts: tuple[Path, Path],
) -> None:
    here, there = hosts
    with leased(here):
        begun = time.monotonic()
        said = refused(there)
        assert time.monotonic() - begun < 2
    lease = f"which holds Prefect's lease {name_of(here)}; stop it there first"
    assert said.startswith(f"search there is owned by another host, {lease}")
    with leased(there):
        assert "search here is owned" in refused(here)


@pytest.mark.usefixtures("prefect_server")
def test_what_a_killed_process_held_holds_up_other_folders_but_not_its_own(hosts: tuple[Path, Path]) -> None:
    here, there = hosts
    kill_a_holder(here)
    assert "if it died" in refused(there)
    begun = time.monotonic()
    with leased(here):
        assert time.monotonic() - begun < 2
        refused(there)
    with leased(there):
        refused(here)


@pytest.mark.usefixtures("prefect_server")
def test_a_new_search_is_leased_once_it_has_an_id(hosts: tuple[Path, Path]) -> None:
    here, there = hosts
    (here / "search.json").unlink()
    with leased(here, pause=0.05):
        (here / "search.json").write_bytes((there / "search.json").read_bytes())
        with get_client(sync_client=True) as client:
            until(lambda: holders(client, name_of(there)))
        refused(there)


@pytest.mark.usefixtures("prefect_server")
def test_without_a_configured_server_nobody_is_asked(hosts: tuple[Path, Path]) -> None:
    here, there = hosts
    with temporary_settings({PREFECT_API_URL: None}), leased(here), leased(there):
        pass
    with get_client(sync_client=True) as client, pytest.raises(ObjectNotFound):
        client.read_concurrency_limit_by_tag(name_of(here))


def test_a_lease_that_a_restarted_server_forgot_is_its_owners_again_and_a_dead_owners_is_free(
    tmp_path: Path, restarted: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    (here, there), (dead, other) = two_hosts(tmp_path / "alive"), two_hosts(tmp_path / "dead")
    caplog.set_level(logging.WARNING, "flows")
    alive, dying = leased(here, pause=0.2), leased(dead)
    with server(restarted):
        alive.__enter__()
        dying.__enter__()
    until(lambda: "the search goes on without Prefect's lease" in caplog.text)
    dying.__exit__(None, None, None)
    assert "ends by itself in 60 s" in caplog.text
    with server(restarted):
        until(lambda: "knows no owner of the taken lease" in caplog.text)
        refused(there)
        with leased(other, pause=1.0):
            refused(dead)
        alive.__exit__(None, None, None)
        with leased(there):
            refused(here)
