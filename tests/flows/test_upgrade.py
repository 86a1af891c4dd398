"""The whole upgrade for real: Prefect's server, MLflow's database, trainings, kills; only small."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.inputs import settings_file
from flows.launch.trained import take_stage
from jdn_core.errors import FingerprintError, InputMissing, OwnedByAnother
from jdn_core.search.records import Records
from jdn_core.storage import durable
from tests import results
from tests.flows.commands import jdn, killed_at
from tests.tiny_run import shapes, tiny_settings

pytestmark = [
    pytest.mark.services,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(
        900
    ),  # seconds on an idle machine; each command imports torch, Prefect and MLflow anew
]
ITERATIONS = 6


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file over drawn shapes."""
    folder = tmp_path_factory.mktemp("tiny")
    root = shapes(folder / "shapes")
    file = folder / "tiny.yaml"
    file.write_text(settings_file.dump(tiny_settings(root, iterations=ITERATIONS)))
    return file


@pytest.fixture(scope="module")
def upgraded(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run that nothing disturbed, and what it printed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = jdn("upgrade", str(settings), "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_base_and_best_are_told_and_every_pair_is_recorded(upgraded: tuple[Path, dict[str, Any]]) -> None:
    out, told = upgraded
    records = Records(out).all()
    assert told["pairs"] == len(records) == ITERATIONS + 1
    assert told["base"]["resolution"] == "64x64"
    assert told["best"]["score"] >= told["base"]["score"]
    assert {record.state for record in records} == {"done"}
    assert results.problems(Records(out)) == ()
    assert (out / "report" / "index.html").stat().st_size > 10_000


def test_mlflow_holds_every_pair_as_the_contract_says(upgraded: tuple[Path, dict[str, Any]]) -> None:
    out, told = upgraded
    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`jdn.kind` = 'pair'")
    assert Counter(run.data.tags["jdn.status"] for run in runs) == {"done": told["pairs"]}
    assert {run.info.status for run in runs} == {"FINISHED"}
    wanted = {"score", "ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ap_48x48", "ap_64x64", "gmacs"}
    wanted |= {"gmacs_48x48", "gmacs_64x64", "params_m", "latency_ms", "train_seconds"}
    for run in runs:
        assert wanted <= set(run.data.metrics)
        assert set(run.data.params) == {"student", "teacher", "action"}
        files = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert files == {"detector.json", "weights.safetensors", "pair.json", "detections.png"}
    assert client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'") == []


def test_prefect_shows_the_steps_by_the_names_of_the_method(upgraded: tuple[Path, dict[str, Any]]) -> None:
    from prefect.client.orchestration import get_client

    _, told = upgraded
    with get_client(sync_client=True) as client:
        names = [run.name for run in client.read_task_runs(limit=200)]
        artifacts = client.read_artifacts()
    pairs = told["pairs"] - 1
    assert sum(name.startswith("fast-evaluate pair") for name in names) >= pairs
    for step in ("train ETP phase", "reset BN of", "mutate pair", "score pair", "update top-k", "train base"):
        assert any(name.startswith(step) for name in names), step
    assert {"jdn-top-k", "jdn-progress"} <= {artifact.key for artifact in artifacts}
    assert 100.0 in [artifact.data for artifact in artifacts if artifact.key == "jdn-progress"]
    places = [(artifact.flow_run_id, artifact.key) for artifact in artifacts]
    assert len(set(places)) == len(places)  # they are brought up to date, not heaped up


def test_a_run_killed_again_and_again_ends_as_if_nothing_had_been(
    settings: Path, upgraded: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = killed_at("pool shrink-1: 1/", "upgrade", str(settings), "--out", str(out))
    later = [killed_at(line, "resume", str(out)) for line in ("evaluate 48x48", "search: 1/")]
    done = jdn("resume", str(out), "--json")
    assert [first, *later, done.returncode] == [-signal.SIGKILL] * 3 + [0], done.stderr
    whole = Records(upgraded[0])
    assert results.digest(Records(out)) == results.digest(whole)
    weights = [
        [r.evaluation.weights for r in records.all() if r.evaluation] for records in (Records(out), whole)
    ]
    assert weights[0] == weights[1]
    assert [path.name for path in out.rglob("*") if ".tmp" in path.name] == []


def test_the_result_is_trained_on_and_a_kill_in_between_changes_nothing(
    upgraded: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(upgraded[0], copy)
    command = ("finetune", str(copy), "--epochs", "2", "--json")
    assert killed_at("finetune", *command) == -signal.SIGKILL
    done = jdn(*command)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["mlflow"]["error"], told["holdout"]) == (None, None)
    undisturbed = jdn("finetune", str(upgraded[0]), "--epochs", "2", "--json")
    assert json.loads(undisturbed.stdout)["sha256"] == told["sha256"]
    missing = jdn("finetune", str(copy), "--epochs", "2", "--pair", "99")
    assert (missing.returncode, "no finished pair 99" in missing.stderr) == (66, True)


def test_a_resume_of_a_finished_run_does_nothing_twice(upgraded: tuple[Path, dict[str, Any]]) -> None:
    out, told = upgraded
    before = {path: path.stat().st_mtime_ns for path in (out / "pairs").rglob("*")}
    again = jdn("resume", str(out), "--json")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "pairs").rglob("*")} == before
    assert json.loads(again.stdout)["best"] == told["best"]


def test_a_resume_with_other_settings_is_refused_with_the_difference(
    upgraded: tuple[Path, dict[str, Any]],
) -> None:
    refused = jdn("resume", str(upgraded[0]), "--set", "evaluation.lr=0.5")
    assert refused.returncode == FingerprintError.exit_code
    assert "evaluation.lr" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_second_owner_ends_at_once(upgraded: tuple[Path, dict[str, Any]]) -> None:
    with durable.own(upgraded[0]):
        second = jdn("resume", str(upgraded[0]))
    assert second.returncode == OwnedByAnother.exit_code
    assert f"is owned by pid {os.getpid()}" in second.stderr


def test_a_pool_serves_another_search(
    settings: Path, upgraded: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "second"
    stages = ["--base", str(upgraded[0] / "base"), "--pool", str(upgraded[0] / "pool")]
    done = jdn("search", str(settings), "--out", str(out), "--set", "search.iterations=2", *stages, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 3
    assert durable.sha256_of(out / "pool" / "weights.safetensors") == durable.sha256_of(
        upgraded[0] / "pool" / "weights.safetensors"
    )


def test_eighty_classes_crowds_and_a_gray_photo_run_through(
    jdn_data: Path, settings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "coco"
    tiny = [
        "--set",
        "search.iterations=2",
        "--set",
        "data.max_train_images=40",
        "--set",
        "data.max_val_images=24",
    ]
    done = jdn(
        "upgrade", str(settings), "--data", str(jdn_data / "coco_mini"), "--out", str(out), "--json", *tiny
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 3
    assert len(durable.read_json(out / "base" / "detector.json")["classes"]) == 80


def test_base_and_pool_can_come_from_their_runs_in_mlflow(
    settings: Path, upgraded: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    uri = f"sqlite:///{upgraded[0] / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    base, pool = (
        next(run.info.run_id for run in runs if run.data.tags.get("jdn.stage") == name)
        for name in ("base", "shrink-1")
    )
    take_stage(Path(base), "base", tmp_path, uri=uri)
    take_stage(Path(pool), "pool", tmp_path, uri=uri)
    for stage in ("base", "pool"):
        weights = [folder / stage / "weights.safetensors" for folder in (tmp_path, upgraded[0])]
        assert durable.sha256_of(weights[0]) == durable.sha256_of(weights[1])
    with pytest.raises(InputMissing, match=r"0{32}: not to be had from MLflow"):
        take_stage(Path("0" * 32), "base", tmp_path / "other", uri=uri)
    assert not (tmp_path / "other" / "base").exists()
