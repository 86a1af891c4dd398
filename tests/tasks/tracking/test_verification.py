"""A search's two copies held against each other: every damage is named, with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.run.folder import Run
from jdn_core.run.inspection import inspect
from tasks.tracking import mlflow_problems, sync
from tests.tasks.tracking.searches import client_of, pair_of, runs_of


def flip(file: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def folder_of(run: Run, index: int) -> Path:
    return run.records.path(run.records.all()[index].pair.key)


def problems(run: Run) -> list[str]:
    again = Run(run.settings, run.folder)
    found = inspect(again)
    return list(map(str, [*found.problems, *mlflow_problems(again, dropped=found.dropped)]))


@pytest.fixture
def published(search: Run) -> Run:
    assert sync(search, state="finished").missing == 0
    return search


def test_two_whole_copies_have_no_problem(published: Run) -> None:
    assert problems(published) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "detector.json", "detections.png"])
def test_a_flipped_bit_in_the_folder_is_found(published: Run, name: str) -> None:
    file = folder_of(published, 2) / name
    flip(file)
    (problem,) = problems(published)
    assert problem.startswith(f"pairs/{file.parent.name}: {name}: ")
    assert "`jdn resume` fetches it from MLflow" in problem


def test_a_damaged_record_is_found_and_mlflow_is_said_to_have_it(published: Run) -> None:
    flip(folder_of(published, 3) / "pair.json")
    first, second = problems(published)
    assert "pair.json: is not a whole record" in first
    assert "the folder has no whole record of it" in second
    assert f"`jdn resume {published.folder}` fetches it" in second


@pytest.mark.parametrize("stage", ["base", "pool"])
def test_a_damaged_stage_is_found(published: Run, stage: str) -> None:
    flip(published.folder / stage / "weights.safetensors")
    local, remote = problems(published)
    assert local.startswith(f"{stage}: cannot be loaded")
    assert f"as in {stage}" in remote


def test_weights_that_are_gone_are_a_problem_where_all_are_kept(published: Run) -> None:
    (folder_of(published, 1) / "weights.safetensors").unlink()
    (problem,) = problems(published)
    assert "weights.safetensors: no such file" in problem


@pytest.mark.parametrize("name", ["weights.safetensors", "pair.json"])
def test_a_flipped_bit_in_mlflow_is_found(published: Run, name: str) -> None:
    found = pair_of(published, 2)
    flip(Path(found.info.artifact_uri.removeprefix("file://")) / name)
    (problem,) = problems(published)
    assert problem.startswith("MLflow: pair 2")
    assert f"delete run {found.info.run_id} in MLflow, then `jdn sync {published.folder}`" in problem
    client_of(published).delete_run(found.info.run_id)
    assert sync(published, state="finished").fresh == 1
    assert problems(published) == []


def test_a_pair_that_mlflow_lost_has_two_runs_or_no_whole_one_is_named(published: Run) -> None:
    client = client_of(published)
    client.delete_run(pair_of(published, 1).info.run_id)
    client.update_run(pair_of(published, 2).info.run_id, status="RUNNING")
    third = pair_of(published, 3)
    ghost = client.create_run(third.info.experiment_id, tags=third.data.tags)
    lost, unfinished, twice = problems(published)
    assert lost == f"MLflow: pair 1: has no run; `jdn sync {published.folder}` sends it"
    assert "MLflow: pair 2: its run is not whole" in unfinished
    assert "MLflow: pair 3: must have one run" in twice
    assert ghost.info.run_id in twice
    sync(published, state="finished")
    assert problems(published) == []


def test_a_search_that_mlflow_never_heard_of_is_named(search: Run) -> None:
    assert problems(search) == [
        f"MLflow: tiny: has no run of this search; `jdn sync {search.folder}` sends it"
    ]
    assert runs_of(search) == []
