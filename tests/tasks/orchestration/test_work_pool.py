"""What a search asks for before it hands pairs to a work pool, and when it takes a worker for lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending, Running, Scheduled

from jdn_core.errors import InputMissing, UsageError
from jdn_core.run.folder import Run
from tasks.orchestration.work_pool import _Watch, find_deployment
from tests.tiny_run import tiny_settings


def run_with(tmp_path: Path, **search: object) -> Run:
    return Run(tiny_settings(tmp_path, search=search), tmp_path)


def test_a_search_that_evaluates_here_needs_no_deployment(tmp_path: Path) -> None:
    assert find_deployment(run_with(tmp_path)) is None


def test_without_servers_both_are_asked_for_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(
            UsageError, match=r"a Prefect server: .* and an MLflow server, .*`jdn ui --with-worker`"
        ),
    ):
        find_deployment(run_with(tmp_path, evaluator="work_pool"))


@pytest.mark.services
@pytest.mark.usefixtures("prefect_server")
def test_a_pool_without_a_deployment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(
        InputMissing, match="no deployment of evaluate-pair on work pool nobodys; `jdn deploy`"
    ):
        find_deployment(run_with(tmp_path, evaluator="work_pool", work_pool="nobodys"))


@dataclass
class Events:
    """Prefect's client as far as the watch knows it: the newest event of a run."""

    newest: UUID = field(default_factory=uuid4)

    def read_events(self, filter: object, limit: int) -> SimpleNamespace:
        return SimpleNamespace(events=[SimpleNamespace(id=self.newest)])


def test_a_run_is_lost_once_its_newest_event_stays_the_newest_for_three_heartbeats() -> None:
    events, watch = Events(), _Watch(uuid4(), beat=0)
    running: State = Running()
    assert watch.too_long(events, running) == 0  # the first event is a sign of life
    assert watch.too_long(events, running) > 0
    events.newest = uuid4()
    assert watch.too_long(events, running) == 0


def test_a_run_that_waits_for_a_worker_or_begins_is_not_lost() -> None:
    events, watch = Events(), _Watch(uuid4(), beat=0)
    states: tuple[State, ...] = (Scheduled(), Pending(), Pending())
    for state in states:
        assert watch.too_long(events, state) == 0


def test_without_heartbeats_nobody_is_taken_for_lost() -> None:
    watch = _Watch(uuid4(), beat=None)
    assert watch.too_long(Events(), Running()) == watch.too_long(Events(), Running()) == 0
