"""A search's folder moves, is copied, or has an odd name, and MLflow's half of it stays inside."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking._tracking_service import utils

from jdn_core.run.folder import Run
from tasks.tracking import mlflow_problems, pages, sync
from tasks.tracking.server import Experiment
from tests.tasks.tracking.searches import files_of, made, pair_of, runs_of, send_all

NAMES = ("better?", "a#b", "50%", "a b", "ü", "%3F?#", 'it\'s "one"', "a?b=c&d")


def published(folder: Path, empty_database: Path) -> Run:
    run = made(folder)
    shutil.copyfile(empty_database, run.folder / "mlflow.db")
    assert send_all(run)[:3] == (6, 0, "")
    return run


def places(run: Run) -> set[Path]:
    """The folders that MLflow has for the search's files."""
    experiment = Experiment.find(pages.tracking_uri(run), name=run.settings.name)
    assert experiment is not None
    return {experiment.files(found, run.folder) for found in runs_of(run)}


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(name: str, tmp_path: Path, empty_database: Path) -> None:
    run = published(tmp_path / name, empty_database)
    assert mlflow_problems(run, dropped=()) == []
    assert "pair.json" in files_of(run, pair_of(run, 1).info.run_id)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("way", ["moved", "copied", "copied, the old one damaged"])
@pytest.mark.parametrize("name", ["new", "in/deep", "new?#%20"])
def test_a_folder_may_be_moved_or_copied(way: str, name: str, tmp_path: Path, empty_database: Path) -> None:
    old = published(tmp_path / "old", empty_database).folder
    new = tmp_path / name
    new.parent.mkdir(exist_ok=True)
    shutil.move(old, new) if way == "moved" else shutil.copytree(old, new)
    if way.endswith("damaged"):
        shutil.rmtree(old / "mlartifacts")
    before = sorted(tmp_path.glob("old/**/*"))
    utils._artifact_repos_cache.clear()  # as in the process of another command
    run = made(tmp_path / "settings")
    run = replace(run, folder=new)
    assert mlflow_problems(run, dropped=()) == []
    assert sync(run, state="finished")[:2] == (6, 0)
    assert all(place.is_relative_to(new.resolve()) and place.is_dir() for place in places(run))
    assert sorted(tmp_path.glob("old/**/*")) == before


def test_a_run_is_found_by_its_id_in_a_database_that_moved(tmp_path: Path, empty_database: Path) -> None:
    run = published(tmp_path / "old", empty_database)
    found = pair_of(run, 1)
    shutil.move(run.folder, tmp_path / "new")
    uri = pages.local_uri(tmp_path / "new")
    experiment, again = Experiment.holding(found.info.run_id, uri)
    assert (experiment.files(again, tmp_path) / "pair.json").is_file()


def test_a_database_that_others_share_is_left_alone_while_the_files_are_there(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = shutil.copyfile(empty_database, tmp_path / "shared.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}")
    run = made(tmp_path / "one")
    assert send_all(run)[:3] == (6, 0, "")
    other = replace(run, folder=Path(shutil.copytree(run.folder, tmp_path / "two")))
    assert mlflow_problems(other, dropped=()) == []
    assert all(place.is_relative_to(tmp_path / "one") for place in places(other))
    shutil.rmtree(tmp_path / "one")
    assert mlflow_problems(other, dropped=()) == []
    assert all(place.is_relative_to(tmp_path / "two") for place in places(other))
