"""Folders of the first frozen formats: this version reads them, goes on with them and evaluates them.

They were made by ``python -m tests.fixtures.make``. A version that cannot read them is at fault, not they.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from jdn_core.search.records import Records
from tests.fixtures import frozen

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=frozen.ARCHIVES, ids=lambda archive: archive.name.removesuffix(".tar.xz"))
def archive(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def place(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the photos, as relative as the settings name them."""
    frozen.photos(tmp_path / "photos", archive=archive)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def finished(archive: Path, place: Path) -> Path:
    return frozen.thawed("finished", place / "finished", archive=archive)


def test_there_is_an_archive() -> None:
    assert frozen.ARCHIVES, "make it with python -m tests.fixtures.make"


def test_its_state_and_its_pairs_are_read(jdn: Command, finished: Path) -> None:
    code, out, err = jdn("status", finished, "--json")
    assert code == 0, err
    status = json.loads(out)
    assert (status["state"], status["done"], status["failed"]) == ("finished", 3, 0)
    code, out, err = jdn("candidates", finished, "--json")
    assert code == 0, err
    pairs = json.loads(out)["pairs"]
    assert sorted(pair["index"] for pair in pairs) == [0, 1, 2]
    assert all(pair["state"] == "done" and 0 <= pair["ap"] <= 1 and pair["macs"] > 0 for pair in pairs)


def test_its_records_weights_and_mlflow_agree(jdn: Command, finished: Path) -> None:
    code, out, err = jdn("verify", finished, "--json")
    assert (code, json.loads(out)["problems"]) == (0, []), err


def _rows(database: Path) -> list[int]:
    """Counts what a search sends; a setting newer than the archive is one more parameter of its run."""
    with closing(sqlite3.connect(database)) as opened:
        tables = ("runs", "metrics", "logged_models")
        return [opened.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]


def test_mlflow_has_all_of_it(jdn: Command, finished: Path) -> None:
    before = _rows(finished / "mlflow.db")
    code, out, err = jdn("sync", finished, "--json")
    assert code == 0, err
    assert 0 in json.loads(out).values(), out
    assert _rows(finished / "mlflow.db") == before


@pytest.mark.parametrize("model", ["finished", "finished#1", "finished/base"])
def test_its_detectors_are_loaded_and_measured(jdn: Command, finished: Path, model: str) -> None:
    code, out, err = jdn("evaluate", model, "--data", "photos", "--device", "cpu", "--json")
    assert code == 0, err
    assert 0 <= json.loads(out)["AP"] <= 1


def test_a_pair_is_measured_as_it_was_when_it_was_made(jdn: Command, finished: Path) -> None:
    """Within what another processor rounds otherwise."""
    _, out, _ = jdn("candidates", finished, "--json")
    pair = next(pair for pair in json.loads(out)["pairs"] if pair["index"] == 1)
    code, out, err = jdn("evaluate", "finished#1", "--data", "photos", "--device", "cpu", "--json")
    assert code == 0, err
    assert json.loads(out)["AP"] == pytest.approx(pair["ap_by_resolution"]["48x48"], abs=0.02)


def test_its_pool_gives_a_teacher(jdn: Command, finished: Path) -> None:
    code, out, err = jdn("pool", "size", finished / "pool", "--json")
    assert (code, json.loads(out)["size"] > 1) == (0, True), err
    code, out, err = jdn(
        "pool", "extract", finished / "pool", "--data", "photos", "--smallest", "--out", "teacher", "--json"
    )
    assert code == 0, err
    assert (Path("teacher") / "detector.json").exists()


@pytest.mark.services
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "iterations"), [("finished", 3), ("interrupted", 2)])
def test_it_goes_on(jdn: Command, archive: Path, place: Path, name: str, iterations: int) -> None:
    search = frozen.thawed(name, place / name, archive=archive)
    kept = {record.pair.key: record for record in Records(search).all()}
    code, _, err = jdn(
        "resume", search, "--set", f"search.iterations={iterations}", "--device", "cpu", "--json"
    )
    assert code == 0, err
    records = {record.pair.key: record for record in Records(search).all()}
    assert records.items() >= kept.items()
    assert [record.pair.index for record in records.values()] == [*range(iterations + 1)]
    code, out, err = jdn("verify", search, "--json")
    assert (code, json.loads(out)["problems"]) == (0, []), err


def test_the_interrupted_one_was_in_the_middle_of_a_pair(archive: Path, place: Path) -> None:
    """Or the test above would show less than it says."""
    search = frozen.thawed("interrupted", place / "interrupted", archive=archive)
    assert len(Records(search).all()) == 2
    assert [*(search / "work" / "checkpoints" / "pairs").glob("*/epoch-1.safetensors")]
