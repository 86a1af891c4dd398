"""What stands beside a winner, in MLflow: sent once, verified, fetched again, and published as the result."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.inputs import models, searches
from flows.inputs.settings_file import dump
from flows.launch.register import register, register_from
from jdn_core.run import finetuning, outcome
from jdn_core.run.fingerprint import fingerprint
from jdn_core.run.folder import Run
from jdn_core.run.identity import search_id
from jdn_core.run.result_rows import result_row
from jdn_core.search import finetunings
from jdn_core.storage import durable
from tasks.tracking import fetch_head, mlflow_problems, rebuild, sync
from tasks.tracking.pages import links_of, tracking_uri
from tests import results
from tests.contested_search import contested
from tests.tasks.tracking.searches import client_of, files_of, pair_of, runs_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished search of which MLflow knows all."""
    run = contested(tmp_path_factory.mktemp("contested"))
    (run.folder / "settings.yaml").write_text(dump(run.settings))
    durable.write_json(run.folder / "fingerprint.json", fingerprint(run.settings), schema=1)
    finetuning.ensure_finetuned(run, finetuning.wanted(run, index=1, epochs=1, alone=True))
    told = sync(run, state="finished")
    assert (told.missing, told.error) == (0, "")
    return run


def test_every_contender_is_a_run_with_its_numbers_and_a_row_of_the_models(sent: Run) -> None:
    runs = {run.info.run_name: run for run in runs_of(sent, "tags.`jdn.kind` = 'control'")}
    records = outcome.of(sent).records
    assert sorted(runs) == sorted(f"control {r.contender.name} {r.contender.key[:8]}" for r in records)
    for run in runs.values():
        assert {"ap", "gmacs", "params_m", "latency_ms", "loss_classifier"} <= set(run.data.metrics)
        assert run.info.status == "FINISHED"
        found = client_of(sent).search_logged_models(
            [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
        )
        assert len(list(found)) == 1


def test_what_was_trained_on_is_a_run_that_names_its_pair(sent: Run) -> None:
    (record,) = finetunings.all_in(sent.finetuning()).values()
    (run,) = runs_of(sent, "tags.`jdn.kind` = 'finetuning'")
    assert run.info.run_name == f"finetuned {record.tuning.name}"
    assert run.data.tags["jdn.finetuned_pair"] == record.tuning.pair
    assert run.data.tags["jdn.pair_run"] == pair_of(sent, 1).info.run_id
    assert run.data.params == {"start": "pair 1", "epochs": "1", "teacher": "none"}
    told = {name: run.data.metrics[name] for name in ("ap", "ap_before", "holdout_ap", "holdout_ap_before")}
    assert record.held_out is not None
    seen = record.held_out
    assert [*told.values()] == [record.after.ap, record.before.ap, seen.after, seen.before]
    assert {"detector.json", "weights.safetensors", "finetuning.json"} <= files_of(sent, run.info.run_id)


def test_the_searchs_run_has_the_held_out_numbers(sent: Run) -> None:
    told, links = outcome.of(sent).held_out, links_of(sent)
    assert told is not None
    assert links is not None
    metrics = client_of(sent).get_run(links.search_run).data.metrics
    assert metrics["holdout_ap_base"] == told.measured["base"].ap
    assert metrics["holdout_difference"] == told.difference.value
    assert metrics["holdout_boxes"] == told.boxes


def test_sent_a_second_time_nothing_changes_and_nothing_is_wrong(sent: Run) -> None:
    assert sync(sent, state="finished").fresh == 0
    assert mlflow_problems(sent, dropped=()) == []


def test_a_damaged_control_is_found(sent: Run) -> None:
    file = sent.contenders.path("longer") / "detector.json"
    before = file.read_bytes()
    file.write_bytes(before + b" ")
    try:
        assert ["control longer" in problem.where for problem in mlflow_problems(sent, dropped=())] == [True]
    finally:
        file.write_bytes(before)


def test_what_is_published_is_the_result(sent: Run) -> None:
    published = register(sent.folder)
    row = result_row(outcome.of(sent))
    assert (published.key, published.sha256) == (row.key, row.sha256)
    version = client_of(sent).get_model_version(published.model, str(published.version))
    assert version.description is not None
    assert "photos that the search never saw" in version.description
    assert models.find(str(sent.folder)).folder == Path(str(searches.row(sent.folder, None).weights)).parent


def test_a_search_is_fetched_with_its_controls(sent: Run, tmp_path: Path) -> None:
    links = links_of(sent)
    assert links is not None
    head, uri = tmp_path / "head", tracking_uri(sent)
    head.mkdir()
    fetch_head(links.search_run, uri, head)
    copy = Run(sent.settings, tmp_path / "copy")
    rebuild(copy, links.search_run, uri, head)
    assert search_id(copy.folder) == search_id(sent.folder)
    assert [each.contender for each in outcome.of(copy).records] == [
        each.contender for each in outcome.of(sent).records
    ]
    assert results.contenders(copy) == results.contenders(sent)
    assert outcome.of(copy).held_out == outcome.of(sent).held_out


def test_another_machine_publishes_the_same_result(sent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    links, uri = links_of(sent), tracking_uri(sent)
    assert links is not None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert register_from(links.search_run, uri) == register(sent.folder)
