"""What MLflow has and the folder has not comes back, if its hashes hold; never otherwise."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flows.inputs import models, settings_file
from jdn_core.errors import CheckpointError, InputMissing, ServiceUnavailable
from jdn_core.processes.devices import shares
from jdn_core.processes.workers import Workers
from jdn_core.run import assemble
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.settings.tracking import TrackingSettings
from jdn_core.storage import durable
from tasks import pairs
from tasks.tracking import Publisher, fetch_head, fetch_stage, rebuild, restore_files, sync
from tests import results
from tests.tasks.tracking.conftest import PAIRS
from tests.tasks.tracking.searches import climb, pair_of, runs_of, send_all, standing_of
from tests.tasks.tracking.servers import MlflowServer, free_port
from tests.tasks.tracking.test_verification import flip


@pytest.fixture
def published(search: Run) -> Run:
    sync(search, state="interrupted")
    return search


def again(run: Run) -> Run:
    """The run as another process opens it."""
    return Run(run.settings, run.folder)


def folder_of(run: Run, index: int) -> Path:
    return run.records.path(run.records.all()[index].pair.key)


def in_mlflow(run: Run, index: int) -> Path:
    return Path(pair_of(run, index).info.artifact_uri.removeprefix("file://"))


def test_a_resumed_search_gets_the_records_that_it_lost(published: Run) -> None:
    digest, run = results.digest(published.records), again(published)
    for lost in [folder_of(published, 2), folder_of(published, 4)]:
        shutil.rmtree(lost)
    with Publisher(run) as publisher:
        publisher.await_restored()
        assert results.digest(run.records) == digest
    assert results.problems(run.records) == ()


def test_a_damaged_record_is_set_aside_and_fetched(published: Run) -> None:
    digest, run = results.digest(published.records), again(published)
    flip(folder_of(published, 1) / "pair.json")
    with Publisher(run) as publisher:
        publisher.await_restored()
    assert results.digest(run.records) == digest


@pytest.mark.parametrize("name", ["weights.safetensors", "pair.json", "detections.png"])
def test_what_is_damaged_in_mlflow_too_is_never_taken(published: Run, name: str) -> None:
    flip(in_mlflow(published, 3) / name)
    shutil.rmtree(folder_of(published, 3))
    run = again(published)
    with Publisher(run) as publisher:
        publisher.await_restored()
    assert [record.pair.index for record in run.records.all()] == [0, 1, 2, 4]


def test_where_both_sides_remember_the_same_nothing_is_listed(published: Run) -> None:
    run = again(published)
    pair_of(published, 2)  # MLflow's copy is there, and is not asked for
    shutil.rmtree(in_mlflow(published, 2))
    with Publisher(run) as publisher:
        assert send_all(run, publisher) == (PAIRS + 4, 0, "", 0)


def test_a_search_that_mlflow_never_heard_of_does_not_wait_for_it(search: Run) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    tracked = search.settings.model_copy(update={"tracking": TrackingSettings(uri=uri)})
    publisher = Publisher(replace(search, settings=tracked))
    begun = time.monotonic()
    publisher.await_restored()
    assert time.monotonic() - begun < 5  # a first word from MLflow would be waited for twice as long
    assert publisher.finish(timeout=60).sent == 0


@pytest.mark.parametrize("name", ["weights.safetensors", "detections.png"])
def test_a_damaged_or_lost_file_is_fetched_again(published: Run, name: str) -> None:
    file = folder_of(published, 2) / name
    whole, key = file.read_bytes(), file.parent.name
    flip(file)
    assert restore_files(published, key) == (name,)
    assert file.read_bytes() == whole
    file.unlink()
    assert restore_files(published, key) == (name,)
    assert (file.read_bytes(), restore_files(published, key)) == (whole, ())


def test_a_file_that_is_damaged_on_both_sides_stays_as_it_is(published: Run) -> None:
    file = folder_of(published, 2) / "weights.safetensors"
    for copy in (file, in_mlflow(published, 2) / file.name):
        flip(copy)
    damaged = file.read_bytes()
    with pytest.raises(CheckpointError, match="damaged: SHA-256 must be"):
        restore_files(published, file.parent.name)
    assert file.read_bytes() == damaged


def test_files_of_a_pair_that_mlflow_has_not_are_named(search: Run) -> None:
    file = folder_of(search, 2) / "weights.safetensors"
    file.unlink()
    with pytest.raises(InputMissing, match=r"pair 2: weights\.safetensors is not to be had from MLflow"):
        restore_files(search, file.parent.name)


@pytest.mark.services
@pytest.mark.timeout(600)
def test_half_a_search_goes_on_to_the_same_digest_on_an_empty_machine(
    searched: Run, tmp_path: Path, server: MlflowServer
) -> None:
    tracked = searched.settings.model_copy(update={"tracking": TrackingSettings(uri=server.uri)})
    first = Run(tracked, shutil.copytree(searched.folder, tmp_path / "first"))
    (first.folder / "settings.yaml").write_text(settings_file.dump(first.settings))
    for undone in [folder_of(first, 3), folder_of(first, 4)]:
        shutil.rmtree(undone)
    first = again(first)
    sync(first, state="interrupted")
    tags = f"tags.`jdn.search_id` = '{durable.read_json(first.folder / 'search.json')['id']}'"
    (run_id,) = [found.info.run_id for found in runs_of(first, tags)]
    shutil.rmtree(first.folder)

    head, second = tmp_path / "head", Run(tracked, tmp_path / "second")
    head.mkdir()
    fetch_head(run_id, server.uri, head)
    assert settings_file.load(str(head / "settings.yaml")).digest == tracked.digest
    assert rebuild(second, run_id, server.uri, head) == 3
    with Publisher(second) as publisher:
        publisher.await_restored()
        assert climb(second, PAIRS) == results.digest(searched.records)
        publisher.follow(standing_of(second))
    assert publisher.finish() == (PAIRS + 4, 0, "", 2)
    assert [found.info.run_id for found in runs_of(second, tags)] == [run_id]


@pytest.mark.services
@pytest.mark.timeout(600)
def test_only_a_searchs_run_can_be_rebuilt(tmp_path: Path, server: MlflowServer, search: Run) -> None:
    with pytest.raises(InputMissing, match="not to be had from MLflow"):
        fetch_head("0" * 32, server.uri, tmp_path)
    sync(search, state="interrupted")
    uri = f"sqlite:///{search.folder / 'mlflow.db'}"
    with pytest.raises(InputMissing, match="is the run of a pair, not of a search"):
        fetch_head(pair_of(search, 1).info.run_id, uri, tmp_path)
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        fetch_head("0" * 32, f"http://127.0.0.1:{free_port()}", tmp_path)


def test_a_stage_that_changed_in_mlflow_is_not_taken(published: Run, tmp_path: Path) -> None:
    (base,) = runs_of(published, "tags.`jdn.kind` = 'base'")
    flip(Path(base.info.artifact_uri.removeprefix("file://")) / "weights.safetensors")
    with pytest.raises(CheckpointError, match="MLflow's files have digest"):
        fetch_stage(base.info.run_id, f"sqlite:///{published.folder / 'mlflow.db'}", tmp_path / "base")
    assert list(tmp_path.glob("*base*")) == []


@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_damaged_parent_is_fetched_before_its_child_is_made(published: Run) -> None:
    climber = HillClimber(assemble.climb_rules(published.settings), published.records.all())
    pair = climber.ask()
    assert pair is not None
    file = published.records.path(str(pair.parent)) / "weights.safetensors"
    whole = file.read_bytes()
    with Workers(shares(1, device="cpu", threads=1)) as workers:
        for damage in (flip, Path.unlink):
            damage(file)
            assert (pairs.mutate_pair.fn(published, pair, workers) / "weights.safetensors").is_file()
            assert file.read_bytes() == whole


def test_weights_that_left_come_back_for_whoever_asks(published: Run) -> None:
    file = folder_of(published, 2) / "weights.safetensors"
    whole = file.read_bytes()
    file.unlink()
    assert models.find(f"{published.folder}#2").folder == file.parent
    assert file.read_bytes() == whole
