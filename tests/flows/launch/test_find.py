"""From a flow run back to the folder of its search."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.inputs.folders import home
from flows.launch.find import Form, find, form_of
from jdn_core.errors import InputMissing, UsageError
from jdn_core.settings.whole import Settings
from tests.processes import until

pytestmark = pytest.mark.services


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JDN_HOME", str(tmp_path / "home"))


@task
def first_task() -> None:
    """What a search begins with."""


@flow
def anything(settings: dict[str, Any] | None = None, **parameters: Any) -> None:
    """A flow whose runs are mostly noted alone."""
    first_task()


def noted(**parameters: Any) -> str:
    """Id of a flow run with these parameters, as a form would have started it."""
    with get_client(sync_client=True) as client:
        return str(client.create_flow_run(anything, parameters=parameters).id)


def test_a_folder_is_itself_and_a_relative_one_that_is_not_here_lies_at_home(tmp_path: Path) -> None:
    assert find(str(tmp_path)).folder == tmp_path.resolve()
    assert find("first").folder == home() / "first"


def ran(flow: Any, **parameters: Any) -> str:
    """Id of a flow run with these parameters that went to its end."""
    state: State[Any] = flow(**parameters, return_state=True)
    return str(state.state_details.flow_run_id)


@pytest.mark.usefixtures("prefect_server")
def test_resumes_and_publications_lead_back_to_the_run_that_began(tmp_path: Path) -> None:
    first = noted(settings={"name": "cells"}, out=None)
    again = noted(search=noted(search=first))
    found = find(again)
    assert found.folder == home() / f"cells-{first[:8]}"
    assert found.name == "cells"
    assert (found.flow_runs[0], found.flow_runs[-1], len(found.flow_runs)) == (again, first, 3)
    assert find(noted(settings={}, out=str(tmp_path / "there"))).folder == tmp_path / "there"
    assert find(noted(search="by-folder")).folder == home() / "by-folder"


@pytest.mark.usefixtures("prefect_server")
def test_what_ended_before_its_first_task_is_known_by_its_form() -> None:
    first = noted(settings={"name": "cells", "seed": 5}, base="b", pool="p")
    assert form_of(find(noted(search=first))) == Form(
        "anything", Settings(name="cells", seed=5), {"base": "b", "pool": "p"}
    )
    assert form_of(find("by-folder")) is None
    begun = ran(anything, settings={})
    until(lambda: form_of(find(begun)) is None)  # the server hears of tasks a little later than of flows
    assert form_of(find(noted(search=begun))) is None


@pytest.mark.usefixtures("prefect_server")
def test_other_runs_and_unknown_ones_are_refused() -> None:
    with pytest.raises(InputMissing, match="knows no such flow run"):
        find(str(uuid4()))
    with pytest.raises(UsageError, match="is not one of a search"):
        find(noted(greeting="hello"))


def test_without_a_server_a_flow_run_is_no_folder() -> None:
    unset = temporary_settings({PREFECT_API_URL: None})
    with unset, pytest.raises(InputMissing, match="set PREFECT_API_URL"):
        find(str(uuid4()))
