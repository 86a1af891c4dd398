"""`jdn init`, and what `jdn upgrade` says of time and disk before it does anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import estimating
from flows.cli.train import _kept_time
from flows.inputs.settings_file import load
from jdn_core.run.estimates import Estimate
from jdn_core.settings.whole import Settings, parse
from tests.tiny_run import shapes

Run = Callable[..., tuple[int, str, str]]
# Each of these trains steps of slim nets: seconds, but more than five on a busy machine.
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("init") / "photos")


@slow
def test_init_writes_settings_and_says_what_they_are_made_of(photos: Path, tmp_path: Path, jdn: Run) -> None:
    file = tmp_path / "mine.yaml"
    code, out, err = jdn("init", photos, "--out", file, "--device", "cpu", "--json")
    assert code == 0, err
    found = json.loads(out)
    settings = load(str(file))
    assert found["settings"] == str(file)
    assert (found["images"], found["train"], found["val"]) == (20, 16, 4)
    assert len(found["classes"]) == 6
    assert tuple(found["resolutions"]) == settings.data.resolutions
    assert tuple(found["anchor_sizes"]) == settings.detector.anchor_sizes
    assert 0 <= found["anchor_recall"]["before"] <= found["anchor_recall"]["after"] <= 1
    assert found["estimate"]["seconds"] > 0 < found["estimate"]["bytes"]
    assert settings.data.root == photos


@slow
def test_init_says_the_same_in_words(photos: Path, tmp_path: Path, jdn: Run) -> None:
    file = tmp_path / "mine.yaml"
    code, out, _ = jdn(
        "init", "--train-json", photos / "annotations/train.json", "--train-images", photos / "train",
        "--out", file,
    )  # fmt: skip
    assert code == 0
    assert "photos: 15 to learn from, 1 to measure on, 64x64 as a rule" in out
    assert "estimate: " in out
    assert f"next: jdn upgrade {file}" in out
    code, _, err = jdn("init", photos, "--out", file)
    assert (code, err) == (64, f"ERROR 64 {file}: is there already; name another --out, or remove it\n")


@slow
def test_a_dry_run_says_time_and_disk_and_writes_nothing(photos: Path, tmp_path: Path, jdn: Run) -> None:
    out_folder = tmp_path / "run"
    code, out, err = jdn("upgrade", photos, "--dry-run", "--out", out_folder, "--set", "search.iterations=2")
    assert code == 0, err
    assert "whole upgrade" in out
    assert "of disk at the most" in out
    assert "begins with: fresh weights" in err
    assert not out_folder.exists()
    code, out, _ = jdn("upgrade", photos, "--dry-run", "--name", "other", "--json")
    found = json.loads(out)
    assert (code, found["search"]) == (0, "other")
    assert list(found["estimate"]["stages"]) == ["start", "base", "pool", "pairs", "controls"]


def test_a_dry_run_refuses_what_the_run_would(photos: Path, jdn: Run) -> None:
    code, _, err = jdn("upgrade", photos, "--dry-run", "--set", "base.batch=99")
    assert code == 78
    assert "base.batch: must be <= the number of training images (16)" in err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["upgrade"], "no dataset: name its folder, or its annotations with --train-json FILE"),
        (["upgrade", "{photos}", "--data", "{photos}"], "two datasets: {photos} and --data {photos}"),
        (["init"], "no dataset: name its folder, or its annotations with --train-json FILE"),
        (["init", "nowhere"], "nowhere: no such dataset folder"),
    ],
)
def test_without_one_dataset_nothing_begins(
    arguments: list[str], line: str, photos: Path, tmp_path: Path, jdn: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = jdn(*(each.format(photos=photos) for each in arguments))
    assert code in (64, 66)
    assert line.format(photos=photos) in err


def hours(*, pairs: float, controls: float) -> Estimate:
    seconds = {"start": 60.0, "base": 3600.0, "pool": 3600.0, "pairs": pairs, "controls": controls}
    return Estimate(seconds, {"base": 10**9}, {"base": 0.25}, "cpu")


def settings(**search: object) -> Settings:
    return parse({"data": {"resolutions": ["100x100", "200x200"]}, "search": {"iterations": 20, **search}})


def test_what_fits_a_night_needs_no_advice() -> None:
    assert estimating.advice(hours(pairs=3600, controls=0), settings()) == []


def test_longer_than_a_night_it_says_what_each_change_saves() -> None:
    found = hours(pairs=20 * 3600, controls=7200)
    assert estimating.advice(found, settings(controls=["longer"])) == [
        "24:01:00 is longer than a night; what makes it shorter:",
        "--set 'search.iterations=10' saves about 10:00:00",
        "--set 'search.controls=[]' saves about 2:00:00",
        "--set 'data.resolutions=[100x100]' saves about 14:24:00",
    ]
    assert len(estimating.advice(found, settings())) == 3


def test_an_estimate_is_told_in_a_line_and_in_rows(capsys: pytest.CaptureFixture[str]) -> None:
    found = hours(pairs=60, controls=5)
    line = "2:02:05 on cpu (start 1:00, base 1:00:00, pool 1:00:00, pairs 1:00, controls 0:05), 1 GB"
    assert estimating.in_words(found).startswith(line)
    assert estimating.rows(found)[-1] == ("whole upgrade", "2:02:05")
    assert estimating.step_rows(found) == [("base", "0.25")]
    estimating.announce(found)
    estimating.announce(None)
    assert capsys.readouterr().err.count("estimate: ") == 1


def test_estimate_and_truth_stand_side_by_side() -> None:
    found = {
        "estimated": {"base": 60.0}, "taken": {"base": 90.0}, "estimated_seconds": 60.0, "seconds": 90.0
    }  # fmt: skip
    assert _kept_time(found) == "time, estimated / taken: 1:00 / 1:30 (base 1:00 / 1:30)"
