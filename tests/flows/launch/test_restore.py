"""A search's folder made again out of its run in MLflow: whole, resumable, and never over another search."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.inputs import settings_file
from flows.launch.restore import rebuilt
from jdn_core.errors import CheckpointError, OwnedByAnother, UsageError
from jdn_core.run.folder import Run
from jdn_core.search.records import Records
from jdn_core.settings.whole import parse
from jdn_core.storage import durable
from tasks.tracking import sync
from tasks.tracking.pages import links_of
from tests.tasks.tracking.searches import made, runs_of

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
def published(tmp_path: Path) -> tuple[Run, str, list[str]]:
    """A made-up search in a database; the id of its run, and the option that names the database."""
    uri = f"sqlite:///{tmp_path / 'tracked.db'}"
    run = made(tmp_path / "search", uri=uri)
    (run.folder / "settings.yaml").write_text(settings_file.dump(run.settings))
    sync(run, state="interrupted")
    (search,) = runs_of(run, "tags.`jdn.kind` = 'search'")
    return run, search.info.run_id, [f"tracking.uri={uri}"]


def test_an_empty_folder_becomes_the_search(published: tuple[Run, str, list[str]], tmp_path: Path) -> None:
    run, run_id, sets = published
    settings = rebuilt(run_id, tmp_path / "new", choose=settings_file.load, sets=sets)
    new = Run(settings, tmp_path / "new")
    assert settings == run.settings
    assert {path.name for path in new.folder.iterdir()} == NO_SCRAPS
    assert [*new.records.all()] == [*run.records.all()]
    for stage in ("base", "pool"):
        file = Path(stage, "weights.safetensors")
        assert (new.folder / file).read_bytes() == (run.folder / file).read_bytes()
    assert links_of(new) == links_of(run)


def test_cut_off_it_goes_on_and_once_whole_it_asks_for_nothing(
    published: tuple[Run, str, list[str]], tmp_path: Path
) -> None:
    run, run_id, sets = published
    out = tmp_path / "new"
    rebuilt(run_id, out, choose=settings_file.load, sets=sets)
    for unfinished in ("pool", f"pairs/{run.records.all()[2].pair.key}"):
        shutil.rmtree(out / unfinished)
    (out / ".pool.0123abcd.tmp").mkdir()
    (out / "settings.yaml").unlink()
    rebuilt(run_id, out, choose=settings_file.load, sets=sets)
    assert {path.name for path in out.iterdir()} == NO_SCRAPS
    assert Records(out).digest() == run.records.digest()
    shutil.rmtree(out / "pool")
    rebuilt(run_id, out, choose=settings_file.load, sets=sets)
    assert not (out / "pool").exists()


def test_a_folder_of_another_search_is_refused(published: tuple[Run, str, list[str]], tmp_path: Path) -> None:
    _, run_id, sets = published
    other = made(tmp_path / "other").folder
    durable.write_json(other / "search.json", {"id": "another"})
    with pytest.raises(UsageError, match=r"holds another search \(another\), not that of the run"):
        rebuilt(run_id, other, choose=settings_file.load, sets=sets)


def test_without_a_server_named_it_says_how(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set MLFLOW_TRACKING_URI, or give --set tracking\.uri=URI"):
        rebuilt("0" * 32, tmp_path / "new", choose=lambda source: parse({}))


def test_a_folder_that_another_process_fills_is_left_alone(
    published: tuple[Run, str, list[str]], tmp_path: Path
) -> None:
    _, run_id, sets = published
    (tmp_path / "new").mkdir()
    with durable.own(tmp_path / "new"), pytest.raises(OwnedByAnother):
        rebuilt(run_id, tmp_path / "new", choose=settings_file.load, sets=sets)


def test_a_damaged_stage_leaves_a_folder_that_is_no_search(
    published: tuple[Run, str, list[str]], tmp_path: Path
) -> None:
    run, run_id, sets = published
    (pool,) = runs_of(run, "tags.`jdn.kind` = 'pool'")
    (Path(pool.info.artifact_uri.removeprefix("file://")) / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match="MLflow's files have digest"):
        rebuilt(run_id, tmp_path / "new", choose=settings_file.load, sets=sets)
    assert not (tmp_path / "new" / "settings.yaml").exists()
