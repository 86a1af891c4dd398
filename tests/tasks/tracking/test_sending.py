"""What MLflow holds of a search, asked of a real SQLite store."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import Records
from jdn_core.settings.tracking import TrackingSettings
from tasks.tracking import Publisher, pages
from tasks.tracking.pages import tracking_uri
from tests.made_up_search import FRAMES, keep, make_records
from tests.processes import until
from tests.tasks.tracking.searches import client_of, files_of, made, pair_of, runs_of, send_all, standing_of


def _publish(run: Run) -> None:
    assert send_all(run)[:3] == (6, 0, "")


def test_a_pair_holds_every_tag_param_metric_and_artifact_of_the_contract(run: Run) -> None:
    _publish(run)
    record = next(record for record in run.records.all() if record.pair.index == 3)
    found = pair_of(run, 3)
    (search,) = runs_of(run, "tags.`jdn.kind` = 'search'")
    tags = {key: value for key, value in found.data.tags.items() if key.startswith("jdn.")}
    assert tags == {
        "jdn.kind": "pair",
        "jdn.status": "done",
        "jdn.search": "shapes",
        "jdn.pair_index": "3",
        "jdn.pair_key": record.pair.key,
        "jdn.parent_pair": str(
            next(r.pair.index for r in run.records.all() if r.pair.key == record.pair.parent)
        ),
        "jdn.action": record.pair.action,
    }
    assert found.data.tags["mlflow.parentRunId"] == search.info.run_id
    assert set(found.data.params) == {"student", "teacher", "action"}
    assert found.data.params["teacher"] == str(record.pair.teacher)
    fixed = {
        "score",
        "ap",
        "ap50",
        "ap75",
        "ap_s",
        "ap_m",
        "ap_l",
        "pair_index",
        "gmacs",
        "params_m",
        "latency_ms",
        "train_seconds",
    }
    per_frame = {f"{name}_{frame}" for name in ("ap", "gmacs") for frame in FRAMES}
    losses = {"loss_classifier", "loss_box_reg", "loss_feature"}
    assert set(found.data.metrics) == fixed | per_frame | losses
    assert files_of(run, found.info.run_id) == {
        "detector.json",
        "weights.safetensors",
        "pair.json",
        "detections.png",
    }
    assert (found.info.status, found.info.end_time) == (
        "FINISHED",
        int(record.evaluation.timing.finished * 1000),
    )


def test_metrics_are_unrounded_and_losses_go_by_epoch(run: Run) -> None:
    _publish(run)
    record = next(record for record in run.records.all() if record.pair.index == 0)
    found = pair_of(run, 0)
    evaluation = record.evaluation
    assert evaluation is not None
    assert found.data.metrics[f"ap_{FRAMES[0]}"] == evaluation.measurements[0].ap
    assert found.data.metrics["params_m"] == evaluation.params / 1e6
    history = client_of(run).get_metric_history(found.info.run_id, "loss_classifier")
    assert [(point.step, point.value) for point in history] == [(1, 0.9), (2, 0.6), (3, 0.5)]


def test_a_failed_pair_is_a_failed_run_with_its_reason(run: Run) -> None:
    _publish(run)
    found = pair_of(run, 2)
    assert found.info.status == "FAILED"
    assert found.data.tags["jdn.status"] == "failed"
    assert found.data.tags["jdn.reason"].startswith("nan: epoch 2")
    assert found.data.metrics == {}
    assert files_of(run, found.info.run_id) == {"pair.json"}


def test_the_search_holds_settings_datasets_and_report(run: Run) -> None:
    (run.folder / "report" / "examples").mkdir(parents=True)
    (run.folder / "report" / "index.html").write_text("<p>")
    (run.folder / "report" / "examples" / "7.jpg").write_bytes(b"jpg")
    _publish(run)
    (search,) = runs_of(run, "tags.`jdn.kind` = 'search'")
    assert search.info.status == "FINISHED"
    assert (search.data.params["search.top_k"], search.data.params["name"]) == ("5", "shapes")
    assert files_of(run, search.info.run_id) == {"settings.yaml", "search.json", "fingerprint.json", "report"}
    assert files_of(run, search.info.run_id, "report") == {"report/index.html", "report/examples"}
    digests = {given.tags[0].value: given.dataset.digest for given in search.inputs.dataset_inputs}
    assert digests == {"training": "a" * 36, "validation": "b" * 36}


def test_base_and_pool_are_runs_with_loss_curves_and_weights(run: Run) -> None:
    _publish(run)
    for kind, name in (("base", "base"), ("pool", "supernet")):
        (found,) = runs_of(run, f"tags.`jdn.kind` = '{kind}'")
        assert (found.info.run_name, found.data.tags["jdn.status"]) == (name, "done")
        assert found.data.metrics == {"train_seconds": 20.0, "loss_classifier": 0.5}
        assert "weights.safetensors" in files_of(run, found.info.run_id)


def test_candidates_are_logged_models_with_metrics_on_the_validation_set(run: Run) -> None:
    _publish(run)
    client = client_of(run)
    models = client.search_logged_models([pair_of(run, 0).info.experiment_id])
    assert {model.name for model in models} == {"pair-0000", "pair-0001", "pair-0003"}
    assert {str(model.status) for model in models} == {"READY"}
    first = next(model for model in models if model.name == "pair-0000")
    (ap,) = [metric for metric in first.metrics if metric.key == "ap"]
    assert (ap.value, ap.dataset_digest) == (pytest.approx(0.44), "b" * 36)
    assert first.params["action"] == "base"


def test_publishing_twice_leaves_one_run_and_one_model_perpair_of(run: Run) -> None:
    _publish(run)
    before = {
        (r.info.run_id, r.info.end_time, r.info.status) for r in runs_of(run, "tags.`jdn.kind` != 'search'")
    }
    _publish(run)
    after = {
        (r.info.run_id, r.info.end_time, r.info.status) for r in runs_of(run, "tags.`jdn.kind` != 'search'")
    }
    assert (len(before), before) == (6, after)
    assert len(client_of(run).search_logged_models([pair_of(run, 0).info.experiment_id])) == 3
    assert len(runs_of(run, "tags.`jdn.kind` = 'search'")) == 1


def test_a_run_begun_before_a_crash_is_finished_not_repeated(run: Run) -> None:
    _publish(run)
    found = pair_of(run, 3)
    client = client_of(run)
    client.set_tag(found.info.run_id, "jdn.status", "running")
    client.update_run(found.info.run_id, status="RUNNING")
    _publish(run)
    again = pair_of(run, 3)
    assert (again.info.run_id, again.info.status) == (found.info.run_id, "FINISHED")
    assert again.data.metrics == found.data.metrics
    assert len(client.get_metric_history(found.info.run_id, "loss_feature")) == 3
    assert len(again.outputs.model_outputs) == 1


def test_a_run_that_only_wants_its_end_gets_it(run: Run) -> None:
    _publish(run)
    found = pair_of(run, 1)
    client_of(run).update_run(found.info.run_id, status="RUNNING")
    _publish(run)
    assert pair_of(run, 1).info.status == "FINISHED"


def test_ghosts_of_lost_replies_are_closed_as_aborted(run: Run) -> None:
    _publish(run)
    client, (search,) = client_of(run), runs_of(run, "tags.`jdn.kind` = 'search'")
    twice = [search, pair_of(run, 3)]
    ghosts = [
        client.create_run(each.info.experiment_id, 1, {**each.data.tags, "jdn.status": "running"})
        for each in twice
    ]
    _publish(run)
    states = {r.info.run_id: (r.data.tags["jdn.status"], r.info.status) for r in runs_of(run)}
    assert [states[ghost.info.run_id] for ghost in ghosts] == [("aborted", "KILLED")] * 2
    assert [states[each.info.run_id] for each in twice] == [("finished", "FINISHED"), ("done", "FINISHED")]
    assert len(runs_of(run)) == 9


def test_records_that_no_publisher_was_given_are_sent_by_the_next(run: Run) -> None:
    _publish(run)
    late = make_records(6, failing={2})[4:]
    for record in late:
        keep(record, run.folder)
    assert send_all(run) == (8, 0, "", 2)
    found = {r.data.tags["jdn.pair_key"] for r in runs_of(run, "tags.`jdn.kind` = 'pair'")}
    assert found == {record.pair.key for record in run.records.all()}


def test_a_running_publisher_sends_what_is_added(run: Run) -> None:
    standing = standing_of(run)
    with Publisher(run) as publisher:
        publisher.follow(standing)
        publisher.add(standing.add(keep(make_records(5, failing={2})[4], run.folder)))
    assert pair_of(run, 4).data.tags["jdn.status"] == "done"


def test_a_pair_is_sent_without_a_look_at_the_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    standing = standing_of(run)
    with Publisher(run) as publisher:
        publisher.follow(standing)
        until(lambda: publisher.knows([record.pair.key for record in standing.records]))
        for name in ("all", "get"):
            monkeypatch.setattr(Records, name, None)
        fifth = keep(make_records(5, failing={2})[4], run.folder)
        publisher.add(standing.add(fifth))
        until(lambda: publisher.knows([fifth.pair.key]))
        assert publisher.finish() == (7, 0, "", 7)


def test_two_searches_of_one_name_stay_apart(tmp_path: Path, empty_database: Path) -> None:
    shared = f"sqlite:///{shutil.copyfile(empty_database, tmp_path / 'shared.db')}"
    for folder in ("one", "two"):
        other = made(tmp_path / folder, uri=shared)
        _publish(other)
    assert len(runs_of(other, "tags.`jdn.kind` = 'search'")) == 2
    assert len(runs_of(other, "tags.`jdn.pair_index` = '0'")) == 2


def test_an_interrupted_search_is_not_left_running(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt), Publisher(run) as publisher:
        raise KeyboardInterrupt
    publisher.finish()  # on a busy machine MLflow takes longer than an interrupted search waits
    (search,) = runs_of(run, "tags.`jdn.kind` = 'search'")
    assert (search.info.status, search.data.tags["jdn.status"]) == ("KILLED", "interrupted")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a port that is taken and never answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_server_that_is_not_there_costs_a_warning_not_the_search(
    tmp_path: Path, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = made(tmp_path / "search", uri=nobody)
    begun = time.monotonic()
    publisher = Publisher(run)
    publisher.follow(standing_of(run))
    assert time.monotonic() - begun < 0.5
    with caplog.at_level(logging.WARNING, logger="tasks.tracking.sending"):
        publication = publisher.finish(timeout=30)
    assert time.monotonic() - begun < 20
    assert publication.error
    assert f"`jdn sync {run.folder}` sends the rest" in caplog.text
    assert pages.links_of(run) is None


def test_what_an_outage_kept_back_is_sent_when_the_server_is_there(
    tmp_path: Path, nobody: str, empty_database: Path
) -> None:
    run = made(tmp_path / "search", uri=nobody)
    assert send_all(run, timeout=30).sent == 0
    shutil.copyfile(empty_database, run.folder / "mlflow.db")
    _publish(replace(run, settings=run.settings.model_copy(update={"tracking": TrackingSettings()})))


def test_one_refused_pair_does_not_keep_back_the_others(run: Run) -> None:
    broken = next(record for record in run.records.all() if record.pair.index == 1)
    folder = run.records.path(broken.pair.key)
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").symlink_to("/nowhere")
    publication = send_all(run)
    assert (publication.sent, publication.missing) == (5, 1)
    assert "nowhere" in publication.error or "weights" in publication.error
    assert pair_of(run, 3).info.status == "FINISHED"


def test_links_name_the_runs_sorted_by_score_and_how_to_open_them(run: Run) -> None:
    _publish(run)
    found, seen = pages.links_of(run), pages.where(run)
    (search,) = runs_of(run, "tags.`jdn.kind` = 'search'")
    assert found is not None
    place = "http://127.0.0.1:5000/#/experiments/1/runs"
    assert found.search == f"{place}/{search.info.run_id}?workflowType=machine_learning"
    assert found.pairs == f"{place}?viewStateShareKey={found.view}&workflowType=machine_learning"
    assert found.charts == found.pairs + "&compareRunsMode=CHART"
    assert seen["command"] == f"mlflow ui --backend-store-uri sqlite:///{run.folder}/mlflow.db"


def test_the_uri_is_the_settings_then_the_environments_then_the_folders(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri(run) == f"sqlite:///{run.folder}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert tracking_uri(run) == "http://tracker:5000"
    settings = run.settings.model_copy(
        update={"tracking": run.settings.tracking.model_copy(update={"uri": "sqlite:///x"})}
    )
    assert tracking_uri(replace(run, settings=settings)) == "sqlite:///x"


def test_no_password_is_shown() -> None:
    assert pages.shown("https://me:secret@tracker:5000/a") == "https://tracker:5000/a"
    assert pages.shown("sqlite:////tmp/a@b.db") == "sqlite:////tmp/a@b.db"


def test_the_published_record_is_the_record(run: Run, tmp_path: Path) -> None:
    _publish(run)
    place = client_of(run).download_artifacts(pair_of(run, 1).info.run_id, "pair.json", str(tmp_path))
    record = next(record for record in run.records.all() if record.pair.index == 1)
    assert PairRecord.from_json(json.loads(Path(place).read_text())) == record
