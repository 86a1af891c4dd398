"""Where a worker evaluates a pair: a folder of its own each, the dataset as this machine has it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.evaluate_pair import evaluate_pair, own_folder, settings_here
from flows.inputs import settings_file
from jdn_core.errors import FingerprintError, InputMissing
from jdn_core.run import assemble
from jdn_core.run.fingerprint import fingerprint
from jdn_core.search.hill_climbing import first_pair
from jdn_core.search.pairs import Pair
from jdn_core.settings.whole import Settings
from tests.tiny_run import shapes, tiny_settings

URI = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("JDN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JDN_DATA_ROOT", raising=False)
    search = {"evaluator": "work_pool", "workers": 3}
    return tiny_settings(shapes(tmp_path / "shapes"), search=search).with_lookback()


@pytest.fixture
def head(settings: Settings, tmp_path: Path) -> Path:
    """What a worker has downloaded of a search."""
    folder = tmp_path / "head"
    folder.mkdir()
    (folder / "settings.yaml").write_text(settings_file.dump(settings))
    (folder / "search.json").write_text(json.dumps({"schema": 1, "id": "a-search"}))
    (folder / "fingerprint.json").write_text(json.dumps({"schema": 1, **fingerprint(settings)}))
    return folder


@pytest.fixture
def pair(settings: Settings) -> Pair:
    return first_pair(assemble.climb_rules(settings), assemble.base_spec(settings))


def test_two_evaluations_have_a_folder_each_and_the_next_one_takes_the_first(head: Path, pair: Pair) -> None:
    with own_folder(head, URI, pair) as one, own_folder(head, URI, pair) as two:
        assert one.folder != two.folder
    with own_folder(head, URI, pair) as three:
        assert three.folder == one.folder


def test_a_pair_goes_on_where_its_checkpoint_is(head: Path, pair: Pair, tmp_path: Path) -> None:
    seat = tmp_path / "home" / "evaluations" / "a-search" / "7"
    (seat / "work" / "checkpoints" / "pairs" / pair.key).mkdir(parents=True)
    with own_folder(head, URI, pair) as run:
        assert run.folder == seat
        with own_folder(head, URI, pair) as other:
            assert other.folder.name == "0"


def test_an_evaluation_that_fails_leaves_its_folder_free(head: Path, pair: Pair) -> None:
    with ExitStack() as stack:
        run = stack.enter_context(own_folder(head, URI, pair))
        with pytest.raises(ZeroDivisionError), own_folder(head, URI, pair):
            raise ZeroDivisionError
    with own_folder(head, URI, pair) as again:
        assert again.folder == run.folder


def test_a_worker_trains_one_pair_here_and_tells_the_server_that_it_was_given(settings: Settings) -> None:
    here = settings_here(settings, URI)
    assert (here.search.workers, here.search.evaluator, here.tracking.uri) == (1, "local", URI)
    assert here.digest == settings.digest


def test_the_worker_says_where_its_copy_of_the_dataset_lies(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shapes(tmp_path / "copy")
    monkeypatch.setenv("JDN_DATA_ROOT", str(copy))
    assert settings_here(settings, URI).data.root == copy
    monkeypatch.setenv("JDN_DATA_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(InputMissing, match=r"nowhere: no such dataset folder on this worker; JDN_DATA_ROOT"):
        settings_here(settings, URI)


def test_a_worker_with_another_dataset_is_refused(
    head: Path, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shapes(tmp_path / "copy")
    annotations = copy / "annotations" / "val.json"
    annotations.write_text(annotations.read_text().replace('"width":', '"width": ', 1))
    monkeypatch.setenv("JDN_DATA_ROOT", str(copy))
    with pytest.raises(FingerprintError, match="val: was"), own_folder(head, URI, pair):
        pass


@pytest.mark.usefixtures("prefect_server")
def test_a_worker_without_a_tracking_server_says_so(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputMissing, match="set MLFLOW_TRACKING_URI for this worker"):
        evaluate_pair("0" * 32, pair.to_json())
