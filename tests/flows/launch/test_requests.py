"""From options to settings that this machine can follow: what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.launch import requests
from jdn_core.errors import InputMissing, SettingsError, UsageError


def test_options_win_over_the_file_and_data_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    found = requests.of_source(
        "bccd_cpu",
        requests.overrides(sets=["name=a"], data=Path("data"), name="b", threads=1, drop_bad_boxes=True),
    )
    assert (found.name, found.threads, found.data.root) == ("b", 1, tmp_path / "data")
    assert found.data.drop_bad_boxes


def test_a_pretrained_file_becomes_absolute_and_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pth").touch()
    monkeypatch.chdir(tmp_path)
    found = requests.of_source(
        "bccd_cpu", requests.overrides(data=tmp_path, sets=["detector.pretrained=a.pth"])
    )
    assert found.detector.pretrained == tmp_path / "a.pth"
    with pytest.raises(InputMissing, match=r"b\.pth: no such file; detector\.pretrained names a checkpoint"):
        requests.of_source("bccd_cpu", requests.overrides(data=tmp_path, sets=["detector.pretrained=b.pth"]))


def test_without_a_dataset_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^no dataset: give --data DIR, or --train-json FILE, or data\.root"
    ):
        requests.of_source("bccd_cpu")
    with pytest.raises(InputMissing, match=r"nowhere: no such dataset folder$"):
        requests.of_source("bccd_cpu", requests.overrides(data=tmp_path / "nowhere"))


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SettingsError, match=r"^--device: device: torch sees no GPU here, got 'cuda'; "):
        requests.of_source("bccd_cpu", requests.overrides(data=tmp_path, device="cuda"))
