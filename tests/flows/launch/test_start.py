"""From options to a run's folder: what is refused before any work, and what a folder keeps."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from flows.inputs.settings_file import Override, dump, load, read_back
from flows.launch import start
from flows.launch.trained import take_stage
from jdn_core.errors import (
    DataError,
    FingerprintError,
    InputMissing,
    ServiceUnavailable,
    StorageError,
    UsageError,
)
from jdn_core.processes.progress import report
from jdn_core.processes.stopping import Stopped
from jdn_core.run.fingerprint import require_same
from jdn_core.settings.whole import Settings
from tests.tiny_run import shapes, tiny_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("shapes") / "data")


@pytest.fixture
def settings(data: Path) -> Settings:
    return tiny_settings(data)


def never(given: Settings, out: Path) -> dict[str, Any]:
    """A flow that must not begin."""
    raise AssertionError


def test_a_run_writes_its_whole_settings_first(settings: Settings, tmp_path: Path) -> None:
    def flow(given: Settings, out: Path) -> dict[str, Any]:
        assert read_back(out) == given == settings.with_lookback()
        report("base", 1, 2, "loss 3")
        logging.getLogger("tasks.base").warning("something to remember")
        return {"out": str(out)}

    assert start.start(flow, settings, tmp_path / "out") == {"out": str(tmp_path / "out")}
    assert "WARNING tasks.base: something to remember" in (tmp_path / "out" / "jdn.log").read_text()


def test_a_folder_that_holds_a_search_is_not_begun_twice(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(dump(settings))
    with pytest.raises(UsageError) as caught:
        start.start(never, settings, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds a search already; "
        f"continue it with `jdn resume {tmp_path}`, or choose another --out"
    )


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("name", ["base/weights.pth", "pool/notes.txt", "report/index.html", "mlflow.db"])
def test_a_run_writes_over_nothing_that_was_there(
    settings: Settings, tmp_path: Path, name: str, again: bool
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"holds {name.partition('/')[0]}, which a run writes; choose"):
        start.start(never, settings, tmp_path, again=again)
    assert [path.name for path in tmp_path.iterdir()] == [name.partition("/")[0]]
    assert (tmp_path / name).read_text() == "mine"


def test_a_settings_file_of_the_user_keeps_its_comments(settings: Settings, tmp_path: Path) -> None:
    text = "# my own\n" + dump(settings).partition("\n")[2]
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"is a settings file of your own, .*; choose another --out$"):
        start.start(never, settings, tmp_path, again=True)
    assert (tmp_path / "settings.yaml").read_text() == text


def test_a_folder_that_cannot_be_written_ends_74_before_any_work(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/out: cannot be written: Not a directory$") as caught:
        start.start(never, settings, tmp_path / "file" / "out")
    assert caught.value.exit_code == 74


def test_refused_data_leaves_no_search_behind(settings: Settings, tmp_path: Path) -> None:
    def flow(given: Settings, out: Path) -> dict[str, Any]:
        raise DataError("train.json: no images")

    with pytest.raises(DataError):
        start.start(flow, settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stop_says_how_to_go_on(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def flow(given: Settings, out: Path) -> dict[str, Any]:
        raise Stopped(15)

    with pytest.raises(Stopped):
        start.start(flow, settings, tmp_path / "out")
    assert f"stopped; `jdn resume {tmp_path / 'out'}` goes on" in capsys.readouterr().err
    assert read_back(tmp_path / "out") == settings.with_lookback()


def test_an_unexpected_end_leaves_its_traceback_in_the_log(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def flow(given: Settings, out: Path) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start.start(flow, settings, tmp_path / "out")
    assert "Traceback" in (tmp_path / "out" / "jdn.log").read_text()
    err = capsys.readouterr().err
    assert f"the log is {tmp_path / 'out' / 'jdn.log'}" in err
    assert "Traceback" not in err


def kept(folder: Path) -> Path:
    """A folder with the settings of a preset."""
    (folder / "settings.yaml").write_text(dump(load("bccd_cpu")))
    return folder


def other(**values: object) -> Settings:
    """The preset's settings with other values; ``__`` stands for a dot."""
    return load(
        "bccd_cpu", [Override("--set", key.replace("__", "."), value) for key, value in values.items()]
    )


def test_a_resume_may_change_devices_and_iterations(tmp_path: Path) -> None:
    settings = other(device="cpu", threads=1, search__iterations=99, tracking__uri="http://host")
    start.refuse_changes(kept(tmp_path), settings)


def test_a_resume_with_other_settings_names_old_and_new(tmp_path: Path) -> None:
    settings = other(score__alpha=0.9, search__iterations=99, data__resolutions=["64x64"])
    with pytest.raises(FingerprintError) as caught:
        start.refuse_changes(kept(tmp_path), settings)
    assert [problem.where for problem in caught.value.problems] == ["data.resolutions", "score.alpha"]
    last = str(caught.value).splitlines()[-1]
    assert last.startswith("settings.yaml: score.alpha: must stay ")
    assert last.endswith(", as when the search began, got 0.9")
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("changes", [["--set", "search.iterations=9"], ["--threads", "1"], []])
def test_a_resume_parses_its_settings_once(
    changes: list[str],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jdn: Callable[..., tuple[int, str, str]],
) -> None:
    def flow(given: Settings, out: Path) -> dict[str, Any]:
        require_same(out / "fingerprint.json", {"settings": given.digest})
        return {"iterations": given.search.iterations}

    start.start(flow, settings, tmp_path)
    parse = MagicMock(wraps=Settings.model_validate)
    monkeypatch.setattr(Settings, "model_validate", parse)
    monkeypatch.setattr("flows.cli.train._upgrade", flow)
    assert jdn("resume", tmp_path, "--json", *changes)[0] == 0
    parse.assert_called_once()


def test_a_folder_without_settings_is_no_search(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"no search there; its folder would hold settings.yaml$"):
        read_back(tmp_path)


@pytest.mark.parametrize("place", [".", "base"])
def test_a_trained_stage_is_taken_over_from_its_folder_or_from_its_run(place: str, tmp_path: Path) -> None:
    (tmp_path / "run" / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / place / "detector.json").write_text("{}")
    take_stage(tmp_path / "run", "base", tmp_path / "out")
    assert (tmp_path / "out" / "base" / "detector.json").read_text() == "{}"


def test_a_stage_is_not_taken_twice_or_from_nowhere(tmp_path: Path) -> None:
    (tmp_path / "out" / "base").mkdir(parents=True)
    with pytest.raises(InputMissing, match=r"no such folder; `jdn train-base` makes one$"):
        take_stage(tmp_path / "nowhere", "base", tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds a base already; choose another --out$"):
        take_stage(tmp_path / "out", "base", tmp_path / "out")


def test_files_are_copied_where_they_cannot_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "detector.json").write_text("{}")
    take_stage(tmp_path / "base", "base", tmp_path / "out")
    assert (tmp_path / "out" / "base" / "detector.json").read_text() == "{}"


def test_a_prefect_that_does_not_answer_ends_69(settings: Settings, tmp_path: Path) -> None:
    def flow(given: Settings, out: Path) -> dict[str, Any]:
        raise RuntimeError("Failed to reach API at http://127.0.0.1:9/api/")

    with pytest.raises(ServiceUnavailable, match=r"^Prefect's server does not answer: ") as caught:
        start.start(flow, settings, tmp_path / "out")
    assert caught.value.exit_code == 69


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "file:///srv/mlruns", "sqlite:////gone/mlflow.db"])
def test_what_keeps_a_run_from_mlflow_is_said_at_its_start(
    uri: str,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    out = tmp_path / "out"
    start.start(lambda given, folder: {}, settings, out)
    [line] = [line for line in capsys.readouterr().err.splitlines() if "MLflow" in line]
    assert line.startswith("WARNING: MLflow: ")
    assert line.endswith(f"; the run goes on without it, and `jdn sync {out}` sends it later")
    assert "WARNING flows.launch.start: MLflow: " in (out / "jdn.log").read_text()


def test_warnings_of_ours_reach_the_screen_while_a_run_lasts(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def flow(given: Settings, out: Path) -> dict[str, Any]:
        logging.getLogger("tasks.tracking").warning("3 are missing")
        return {}

    start.start(flow, settings, tmp_path / "out")
    logging.getLogger("tasks.tracking").warning("later")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING")]
    assert lines == ["WARNING: 3 are missing"]
