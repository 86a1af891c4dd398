"""MLflow that loses replies, stops answering, or never comes back: training does not notice (RELIABILITY)."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run as MlflowRun

from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord
from jdn_core.settings.tracking import TrackingSettings
from jdn_core.storage import durable
from tasks.tracking import Publisher, sync
from tasks.tracking.pages import PARENT
from tests.made_up_search import keep, make_records
from tests.processes import until
from tests.tasks.tracking.searches import client_of, made, runs_of, send_all, standing_of
from tests.tasks.tracking.servers import MlflowServer, Proxy, free_port

# The server starts in seconds on an idle machine, in a minute on a busy one.
pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
QUICK = (0.05,)


def tracked_by(run: Run, uri: str) -> Run:
    """The same folder, with another address of MLflow."""
    return replace(run, settings=run.settings.model_copy(update={"tracking": TrackingSettings(uri=uri)}))


def grown(folder: Path, pairs: int) -> Run:
    """A made-up search of so many records."""
    run = made(folder)
    for record in make_records(pairs, failing={2})[4:]:
        keep(record, folder)
    return run


def alive(run: Run, server: MlflowServer) -> list[MlflowRun]:
    """What the server shows of a search, without what was closed as aborted: its own run, and those below."""
    run = tracked_by(run, server.uri)
    id_ = durable.read_json(run.folder / "search.json")["id"]
    (search,) = [
        found
        for found in runs_of(run, f"tags.`jdn.search_id` = '{id_}'")
        if found.data.tags["jdn.status"] != "aborted"
    ]
    below = runs_of(run, f"tags.`{PARENT}` = '{search.info.run_id}'")
    assert {found.info.status for found in below} <= {"FINISHED", "FAILED", "KILLED"}
    return [search, *(found for found in below if found.data.tags["jdn.status"] != "aborted")]


def identities(runs: list[MlflowRun]) -> Counter[str]:
    return Counter(run.data.tags.get("jdn.pair_key") or run.data.tags.get("jdn.stage", "") for run in runs)


def everything(run: Run) -> Counter[str]:
    """One run for each record, each stage, and the search."""
    return Counter([record.pair.key for record in run.records.all()] + ["base", "supernet", ""])


def longest_block(publisher: Publisher, run: Run, more: list[PairRecord]) -> float:
    """The longest time, in seconds, that training waits when it says that a record is there."""
    waits, standing = [], standing_of(run)
    publisher.follow(standing)
    for record in more:
        graded = standing.add(keep(record, run.folder))
        begun = time.monotonic()
        publisher.add(graded)
        publisher.holds([record.pair.key])
        waits.append(time.monotonic() - begun)
    return max(waits)


def test_a_hundred_lost_replies_leave_no_ghost(tmp_path: Path, server: MlflowServer, hasty: None) -> None:
    cut: set[str] = set()
    created: list[str] = []

    def every_first_answer(method: str, path: str) -> bool:
        """Each POST's; its repetition gets one."""
        if method != "POST" or path.endswith("search") or path in cut:
            cut.discard(path)
            return False
        cut.add(path)
        created.extend([path] * path.endswith("runs/create"))
        return True

    run = grown(tmp_path / "search", pairs=12)
    with Proxy(server.port, every_first_answer) as proxy:
        tracked = tracked_by(run, proxy.uri)
        sent = send_all(tracked, Publisher(tracked, patience=QUICK), timeout=100)
        assert proxy.lost >= 100
    assert sent[:3] == (14, 0, "")
    assert len(created) >= 14
    assert identities(alive(run, server)) == everything(run)
    models = client_of(tracked_by(run, server.uri)).search_logged_models(
        [alive(run, server)[0].info.experiment_id], "tags.`jdn.search` = 'shapes'", max_results=100
    )
    mine = [
        model
        for model in models
        if model.source_run_id in {found.info.run_id for found in alive(run, server)}
    ]
    assert len(mine) == 11
    assert {str(model.status) for model in mine} == {"READY"}


def test_a_server_that_hangs_blocks_nobody_and_gets_the_rest_when_it_is_back(
    tmp_path: Path, server: MlflowServer, hasty: None
) -> None:
    run = tracked_by(grown(tmp_path / "search", pairs=4), server.uri)
    publisher = Publisher(run, patience=QUICK)
    with server.paused():
        assert longest_block(publisher, run, make_records(12, failing={2})[4:]) < 0.5
    assert publisher.finish(timeout=30)[:3] == (14, 0, "")
    assert identities(alive(run, server)) == everything(run)


def test_a_server_that_died_and_came_back_gets_the_rest(
    tmp_path: Path, server: MlflowServer, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    down = True
    run = grown(tmp_path / "search", pairs=4)
    with Proxy(server.port, lambda method, path: down) as proxy:
        publisher = Publisher(tracked_by(run, proxy.uri), patience=QUICK)
        assert longest_block(publisher, run, make_records(8, failing={2})[4:]) < 0.5
        until(lambda: "sending to MLflow failed" in caplog.text)
        down = False
        assert publisher.finish(timeout=30)[:3] == (10, 0, "")
    assert identities(alive(run, server)) == everything(run)


def test_a_server_that_never_comes_back_costs_a_warning_and_sync_sends_it_all_later(
    tmp_path: Path, server: MlflowServer, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    run = grown(tmp_path / "search", pairs=6)
    begun = time.monotonic()
    silent = tracked_by(run, f"http://127.0.0.1:{free_port()}")
    sent = send_all(silent, Publisher(silent, patience=QUICK), timeout=20)
    assert time.monotonic() - begun < 20
    assert sent.error
    assert "`jdn sync" in caplog.text
    assert sync(tracked_by(run, server.uri), state="finished") == (8, 0, "", 8)
    assert identities(alive(run, server)) == everything(run)
