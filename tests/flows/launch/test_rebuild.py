"""A search's folder made again out of its run in MLflow: whole, resumable, and never over another search."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.inputs import settings_file
from flows.inputs.settings_file import Override
from flows.launch.rebuild import rebuild
from jdn_core.errors import CheckpointError, OwnedByAnother, UsageError
from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from jdn_core.storage import durable
from tasks.tracking import sync
from tasks.tracking.pages import links_of
from tests import results
from tests.tasks.tracking.searches import made, runs_of

Published = tuple[Run, str, list[Override]]
NO_SCRAPS = {
    "search.json",
    "settings.yaml",
    "fingerprint.json",
    "owner.lock",
    "base",
    "pool",
    "pairs",
    "work",
}


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """A made-up search in a database; the id of its run, and options that name database and dataset."""
    uri = f"sqlite:///{tmp_path / 'tracked.db'}"
    run = made(tmp_path / "search", uri=uri)
    (run.folder / "settings.yaml").write_text(settings_file.dump(run.settings))
    sync(run, state="interrupted")
    (search,) = runs_of(run, "tags.`jdn.kind` = 'search'")
    changes = [Override("--set", "tracking.uri", uri), Override("--data", "data.root", str(tmp_path))]
    return run, search.info.run_id, changes


def test_an_empty_folder_becomes_the_search(published: Published, tmp_path: Path) -> None:
    run, run_id, changes = published
    settings = rebuild(run_id, tmp_path / "new", changes)
    new = Run(settings, tmp_path / "new")
    assert settings == settings_file.changed(run.settings, changes)
    assert {path.name for path in new.folder.iterdir()} == NO_SCRAPS
    assert [*new.records.all()] == [*run.records.all()]
    for stage in ("base", "pool"):
        file = Path(stage, "weights.safetensors")
        assert (new.folder / file).read_bytes() == (run.folder / file).read_bytes()
    assert links_of(new) == links_of(run)


def test_cut_off_it_goes_on_and_once_whole_it_asks_for_nothing(published: Published, tmp_path: Path) -> None:
    run, run_id, changes = published
    out = tmp_path / "new"
    rebuild(run_id, out, changes)
    for unfinished in ("pool", f"pairs/{run.records.all()[2].pair.key}"):
        shutil.rmtree(out / unfinished)
    (out / ".pool.0123abcd.tmp").mkdir()
    (out / "settings.yaml").unlink()
    rebuild(run_id, out, changes)
    assert {path.name for path in out.iterdir()} == NO_SCRAPS
    assert results.digest(Records(out)) == results.digest(run.records)
    shutil.rmtree(out / "pool")
    rebuild(run_id, out, changes)
    assert not (out / "pool").exists()


def test_a_folder_of_another_search_is_refused(published: Published, tmp_path: Path) -> None:
    _, run_id, changes = published
    other = made(tmp_path / "other").folder
    durable.write_json(other / "search.json", {"id": "another"}, schema=1)
    with pytest.raises(UsageError, match=r"holds another search \(another\), not that of the run"):
        rebuild(run_id, other, changes)


def test_without_a_server_named_it_says_how(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set MLFLOW_TRACKING_URI, or give --set tracking\.uri=URI"):
        rebuild("0" * 32, tmp_path / "new")


def test_a_folder_that_another_process_fills_is_left_alone(published: Published, tmp_path: Path) -> None:
    _, run_id, changes = published
    (tmp_path / "new").mkdir()
    with durable.own(tmp_path / "new"), pytest.raises(OwnedByAnother):
        rebuild(run_id, tmp_path / "new", changes)


def test_a_damaged_stage_leaves_a_folder_that_is_no_search(published: Published, tmp_path: Path) -> None:
    run, run_id, changes = published
    (pool,) = runs_of(run, "tags.`jdn.kind` = 'pool'")
    (Path(pool.info.artifact_uri.removeprefix("file://")) / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match="MLflow's files have digest"):
        rebuild(run_id, tmp_path / "new", changes)
    assert not (tmp_path / "new" / "settings.yaml").exists()
