"""Every bad setting of the contract: the exact words, the exit code, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from flows.inputs.settings_file import dump, presets
from jdn_core.settings.whole import Settings
from tests.contracts.refusals import Jdn, refusal
from tests.tiny_run import shapes, tiny_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 16 and 4 drawn photos with three classes."""
    return shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def settings(data: Path) -> Settings:
    return tiny_settings(data)


SETTINGS = {
    "unknown key": ("search: {topk: 3}", "s.yaml: search.topk: unknown key; did you mean top_k?"),
    "missing key": ("pool: {phases: [{epochs: 1}]}", "s.yaml: pool.phases.0.name: missing key; add it"),
    "wrong type": (
        "search: {top_k: many}",
        "s.yaml: search.top_k: input should be a valid integer, got 'many'",
    ),
    "duplicate key": ("seed: 1\nseed: 2", "s.yaml: line 2: key 'seed' was given already in line 1"),
    "unsafe tag": (
        "name: !!python/object/apply:os.mkdir [made]",
        "s.yaml: line 1: tags are not allowed, "
        "got tag:yaml.org,2002:python/object/apply:os.mkdir; write the plain value",
    ),
    "alias of aliases": (
        "a: &a [1]\nb: &b [*a, *a]",
        "s.yaml: line 2: aliases are not allowed, got *a; write the plain value",
    ),
    "empty file": ("", f"s.yaml: is empty; start from a preset: {', '.join(presets())}"),
    "no mapping": ("[search]", "s.yaml: must be a mapping of sections, got list"),
    "no YAML": ("seed: [1", "s.yaml: line 1: expected ',' or ']', but got '<stream end>'"),
    "no text": ("seed: \0", "s.yaml: unacceptable character #x0000: special characters are not allowed"),
    "too long": ("#" * 2**18 + "\n", "s.yaml: must have at most 262144 bytes, got more"),
    "too deep": ("a: " + "[" * 100_000, "s.yaml: is nested too deeply"),
    "negative seed": ("seed: -1", "s.yaml: seed: input should be greater than or equal to 0, got -1"),
    "float seed": ("seed: 1.5", "s.yaml: seed: input should be a valid integer, got 1.5"),
    "k < 1": (
        "search: {top_k: 0}",
        "s.yaml: search.top_k: input should be greater than or equal to 1, got 0",
    ),
    "L < workers": (
        "search: {workers: 4, lookback: 2}",
        "s.yaml: search: lookback must be >= workers (4), got 2",
    ),
    "epochs 0": (
        "evaluation: {epochs: 0}",
        "s.yaml: evaluation.epochs: input should be greater than or equal to 1, got 0",
    ),
    "base of nothing": (
        "base: {epochs: 0}",
        "s.yaml: base.epochs must be >= 1 unless detector.pretrained names a detector "
        "whose class head stays, got 0",
    ),
    "lr NaN": ("base: {lr: .nan}", "s.yaml: base.lr: input should be a finite number, got nan"),
    "lr 0": ("base: {lr: 0}", "s.yaml: base.lr: input should be greater than 0, got 0"),
    "lr < 0": ("base: {lr: -1e-3}", "s.yaml: base.lr: input should be greater than 0, got -0.001"),
    "share 0": (
        "search: {prune_shares: [0]}",
        "s.yaml: search.prune_shares.0: input should be greater than 0, got 0",
    ),
    "share 1": (
        "search: {prune_shares: [0.1, 1.0]}",
        "s.yaml: search.prune_shares.1: input should be less than 1, got 1.0",
    ),
    "unknown device": ("device: tpu", "s.yaml: device: input should be 'auto', 'cpu' or 'cuda', got 'tpu'"),
    "password in the URI": (
        "tracking: {uri: 'http://me:secret@host'}",
        "s.yaml: tracking.uri: the URI holds a password; "
        "use MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
}


@pytest.mark.parametrize(("text", "line"), SETTINGS.values(), ids=SETTINGS)
def test_bad_settings(text: str, line: str, data: Path, tmp_path: Path, jdn: Jdn) -> None:
    (tmp_path / "s.yaml").write_text(text)
    out = tmp_path / "out"
    assert jdn("upgrade", tmp_path / "s.yaml", "--data", data, "--out", out) == refusal(78, line)
    assert not out.exists()
    assert not Path("made").exists()


def test_settings_that_do_not_suit_the_data(settings: Settings, tmp_path: Path, jdn: Jdn) -> None:
    (tmp_path / "s.yaml").write_text(dump(settings))
    sets = ("--set", "base.batch=17", "--set", "pool.phases.1.batch=99")
    assert jdn("upgrade", tmp_path / "s.yaml", *sets, "--out", tmp_path / "out") == refusal(
        78,
        "settings: base.batch: must be <= the number of training images (16), got 17",
        "settings: pool.phases.1.batch: must be <= the number of training images (16), got 99",
    )
    assert not (tmp_path / "out" / "settings.yaml").exists()


def test_a_device_that_is_absent(settings: Settings, tmp_path: Path, jdn: Jdn) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    (tmp_path / "s.yaml").write_text(dump(settings))
    arguments = ("upgrade", tmp_path / "s.yaml", "--device", "cuda", "--out", tmp_path / "out")
    what = "torch sees no GPU here, got 'cuda'; take cpu or auto; `jdn doctor` says what torch sees"
    assert jdn(*arguments) == refusal(78, f"--device: device: {what}")


def test_an_output_folder_that_cannot_be_written(settings: Settings, tmp_path: Path, jdn: Jdn) -> None:
    (tmp_path / "s.yaml").write_text(dump(settings))
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (
        ("s.yaml/out", "Not a directory"),
        ("loop/out", "Too many levels of symbolic links"),
    ):
        answer = jdn("upgrade", tmp_path / "s.yaml", "--out", tmp_path / name)
        assert answer == refusal(74, f"{tmp_path / name}: cannot be written: {reason}")


@pytest.mark.parametrize("name", ["nowhere", "loop", "~nobody-of-that-name/x"])
def test_a_dataset_that_is_not_there(name: str, settings: Settings, tmp_path: Path, jdn: Jdn) -> None:
    (tmp_path / "s.yaml").write_text(dump(settings))
    (tmp_path / "loop").symlink_to("loop")
    path = name if name.startswith("~") else str(tmp_path / name)
    answer = jdn("upgrade", tmp_path / "s.yaml", "--data", path)
    assert answer == refusal(66, f"{os.path.realpath(path)}: no such dataset folder")


def test_all_problems_at_once_and_fifty_by_name(data: Path, tmp_path: Path, jdn: Jdn) -> None:
    (tmp_path / "s.yaml").write_text("".join(f"seeds{number}: 1\n" for number in range(60)) + "seed: -1\n")
    code, _, err = jdn("upgrade", tmp_path / "s.yaml", "--data", data)
    lines = err.splitlines()
    assert (code, len(lines), lines[-1]) == (78, 51, "ERROR 78 ... and 11 more")
