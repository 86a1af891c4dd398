"""Detectors in MLflow's Model Registry: registered, found again, loaded where jdn is not, never twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion

from flows import publish
from flows.inputs import models, searches, settings_file
from flows.launch.register import register, register_from
from jdn_core.errors import CheckpointError, InputMissing, OwnedByAnother, UsageError
from jdn_core.run.folder import Run
from jdn_core.settings.tracking import TrackingSettings
from jdn_core.storage import durable
from tasks.tracking import sync
from tasks.tracking.pages import tracking_uri
from tasks.tracking.registry import LONGEST_CARD, fetch_model, register_pair
from tests.tasks.tracking.searches import client_of, made, pair_of
from tests.tasks.tracking.servers import MlflowServer, Proxy
from tests.tasks.tracking.test_verification import flip, folder_of

# Run where neither jdn nor its checkout is: only what MLflow has of the model, and installed libraries.
ELSEWHERE = """
import base64, importlib.util, json, sys
import numpy, pandas
from PIL import Image

sys.path = [path for path in sys.path if path not in json.loads(sys.argv[1])]
assert importlib.util.find_spec("jdn_core") is None
import mlflow
from mlflow.pyfunc import scoring_server

detector = mlflow.pyfunc.load_model("models:/tiny@champion")
photos = [open(path, "rb").read() for path in sys.argv[2:]]
texts = [base64.b64encode(photo).decode() for photo in photos]
pixels = [numpy.asarray(Image.open(path).convert("RGB")) for path in sys.argv[2:]]
all_boxes = {"score": 0.0}

def served(**request):
    rows = {"columns": ["image"], "data": [[text] for text in texts]}
    body = json.dumps({"dataframe_split": rows, **request})
    schema = detector.metadata.get_input_schema()
    return json.loads(scoring_server.invocations(body, "application/json", detector, schema).response)

def refused(value):
    try:
        return detector.predict(pandas.DataFrame({"image": [value]}))
    except mlflow.MlflowException as error:
        return f"{error.error_code} {error.message}"

print(json.dumps({
    "bytes": detector.predict(pandas.DataFrame({"image": photos}), params=all_boxes),
    "base64": detector.predict(pandas.DataFrame({"image": texts}), params=all_boxes),
    "pixels": detector.predict({"image": pixels}, params=all_boxes),
    "served": served(params=all_boxes)["predictions"],
    "confident": served()["predictions"],
    "none": detector.predict(pandas.DataFrame({"image": []}, dtype=object)),
    "example": detector.predict(detector.input_example),
    "refused": [refused(value) for value in (b"no picture", "no base64!", pixels[0].astype(float))],
    "core": sys.modules["jdn_core"].__file__,
}))
"""
ROOT = Path(__file__).parents[3]


@pytest.fixture
def published(search: Run) -> Run:
    assert sync(search, state="finished").missing == 0
    return search


@pytest.fixture
def jdn_json(jdn: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Exit code and JSON answer of a command."""

    def run(*arguments: object) -> tuple[int, dict[str, Any]]:
        code, out, _ = jdn(*arguments, "--json")
        return code, json.loads(out)

    return run


def versions(run: Run, model: str = "tiny") -> list[ModelVersion]:
    client = client_of(run)
    found = client.search_model_versions(f"name = '{model}'")
    return [client.get_model_version(model, each.version) for each in found]


def photos_of(run: Run) -> list[str]:
    assert run.settings.data.root is not None
    return sorted(map(str, (run.settings.data.root / "val").iterdir()))


def at(run: Run, uri: str, name: str = "tiny") -> Run:
    """The same folder, with another address of MLflow, and a name of its own there."""
    settings = run.settings.model_copy(update={"tracking": TrackingSettings(uri=uri), "name": name})
    return replace(run, settings=settings)


def elsewhere(uri: str, photos: list[str]) -> dict[str, Any]:
    """What a registered detector says in a process that has no jdn and may not unpickle."""
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PYTHONPATH": "",
    }
    command = [sys.executable, "-P", "-c", ELSEWHERE, json.dumps([str(ROOT), ""]), *photos]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.timeout(600)
def test_a_registered_detector_sees_what_jdn_predict_sees_without_jdn_and_without_pickle(
    published: Run,
    jdn_json: Callable[..., tuple[int, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(published.folder)
    uri, photos = tracking_uri(published), photos_of(published)
    found = elsewhere(uri, photos)
    eager = jdn_json("predict", published.folder, *photos, "--score", 0)[1]["detections"]
    assert len(eager) > 10
    wanted = [{**hit, "image_id": photos.index(hit["image_id"])} for hit in eager]
    assert all(found[way] == wanted for way in ("bytes", "base64", "pixels", "served"))
    assert found["confident"] == [hit for hit in wanted if hit["score"] >= 0.5]
    assert (found["none"], type(found["example"])) == ([], list)
    assert [text.partition(" ")[0] for text in found["refused"]] == ["INVALID_PARAMETER_VALUE"] * 3
    assert "/code/jdn_core/" in found["core"]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    code, answer = jdn_json("predict", "models:/tiny@champion", *photos, "--score", 0)
    assert (code, answer["detections"]) == (0, eager)
    data = published.settings.data.root
    here = jdn_json("evaluate", published.folder, "--data", data)
    assert jdn_json("evaluate", "models:/tiny/1", "--data", data) == here
    assert here[0] == 0


def test_a_version_tells_where_it_comes_from_and_what_it_is_worth(published: Run) -> None:
    found = register(published.folder, pair=2)
    (version,) = versions(published)
    record = next(record for record in published.records.all() if record.pair.index == 2)
    assert found[:4] == ("tiny", 1, "champion", "models:/tiny@champion")
    assert found.page.endswith("/#/models/tiny/versions/1")
    assert version.run_id == pair_of(published, 2).info.run_id == version.tags["jdn.pair_run"]
    assert version.tags["jdn.weights_sha256"] == found.sha256 == record.files["weights.safetensors"]
    wanted = {"jdn.pair_key": record.pair.key, "jdn.settings": published.settings.digest}
    assert wanted.items() <= version.tags.items()
    assert version.tags["jdn.dataset.validation"].endswith("/val " + "b" * 36)
    assert "| | base | this detector | |" in version.description
    (model,) = client_of(published).search_logged_models(
        [pair_of(published, 2).info.experiment_id], f"source_run_id = '{version.run_id}'"
    )
    assert "mlflow.model.isExternal" not in model.tags
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "tiny", "version": 1}]
    text = Path(model.artifact_location.removeprefix("file://"), "MLmodel").read_text()
    assert str(published.folder) not in text
    assert str(ROOT) not in text
    card = Path(model.artifact_location.removeprefix("file://"), "README.md").read_text()
    assert card[:LONGEST_CARD] == version.description


def test_twice_makes_no_second_version_and_the_alias_moves(published: Run) -> None:
    first = register(published.folder, pair=1)
    before = versions(published)
    assert register(published.folder, pair=1) == first
    assert [vars(each) for each in versions(published)] == [vars(each) for each in before]
    assert register(published.folder, pair=2).version == 2
    assert [each.aliases for each in versions(published)] == [["champion"], ["previous"]]
    assert register(published.folder, pair=1, alias="champion").version == 1
    assert register(published.folder, pair=1, alias="calm").version == 1
    assert sorted((each.version, sorted(each.aliases)) for each in versions(published)) == [
        (1, ["calm", "champion"]),
        (2, ["previous"]),
    ]
    assert register(published.folder, pair=1, model="other").version == 1
    assert sync(published, state="finished")[:3] == (len(published.records.all()) + 3, 0, "")
    assert len(versions(published, "other")) == 1


def aliases(run: Run) -> dict[str, int]:
    return {
        alias: int(version) for alias, version in client_of(run).get_registered_model("tiny").aliases.items()
    }


def test_the_version_before_keeps_a_name_and_the_alias_goes_back_to_it(
    published: Run, jdn_json: Callable[..., tuple[int, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(published))
    register(published.folder, pair=1)
    assert aliases(published) == {"champion": 1}
    register(published.folder, pair=2)
    register(published.folder, pair=2)
    assert aliases(published) == {"champion": 2, "previous": 1}
    code, found = jdn_json("rollback", "tiny")
    assert (code, found["version"], found["left"], found["alias"]) == (0, 1, 2, "champion")
    assert aliases(published) == {"champion": 1, "previous": 2}
    register(published.folder, pair=1, alias="calm")
    register(published.folder, pair=3, alias="calm")
    assert aliases(published)["calm"] == 3
    assert jdn_json("rollback", "tiny", "--alias", "calm")[1]["version"] == 1
    assert aliases(published)["calm-previous"] == 3


def test_there_must_be_a_version_to_go_back_to(
    published: Run, jdn: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "MLFLOW_TRACKING_URI names the server" in jdn("rollback", "tiny")[2]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(published))
    assert jdn("rollback", "tiny")[::2] == (
        66,
        f"ERROR 66 tiny: no such model in MLflow at {tracking_uri(published)}\n",
    )
    register(published.folder, pair=1)
    assert "version 1 has none before it to go back to" in jdn("rollback", "tiny")[2]
    assert "models:/tiny@calm: no such alias" in jdn("rollback", "tiny", "--alias", "calm")[2]
    assert jdn("rollback", "tiny", "--alias", "v1")[0] == 64


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_damaged_and_dropped_weights_come_back_from_mlflow_first(
    published: Run, damage: Callable[[Path], None]
) -> None:
    file = folder_of(published, 2) / "weights.safetensors"
    damage(file)
    found = register(published.folder, pair=2)
    assert durable.sha256_of(file) == found.sha256


def test_weights_that_are_damaged_everywhere_are_refused(published: Run) -> None:
    flip(folder_of(published, 2) / "weights.safetensors")
    kept = Path(pair_of(published, 2).info.artifact_uri.removeprefix("file://"))
    flip(kept / "weights.safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        register(published.folder, pair=2)
    assert client_of(published).search_model_versions() == []


def test_what_mlflow_does_not_have_is_sent_first(
    search: Run, jdn: Callable[..., tuple[int, str, str]], jdn_json: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    code, answer = jdn_json("publish", search.folder, "--pair", 1, "--alias", "calm")
    assert (code, answer["model"], answer["version"], answer["alias"]) == (0, "tiny", 1, "calm")
    assert len(versions(search)) == 1
    code, out, _ = jdn("publish", search.folder, "--pair", 1)
    assert (code, out.splitlines()) == (
        0,
        ["pair 1 is tiny version 1, alias champion: models:/tiny@champion", answer["page"]],
    )


def test_a_search_that_runs_is_left_alone(search: Run) -> None:
    with durable.own(search.folder), pytest.raises(OwnedByAnother, match="has not heard of pair 1 yet"):
        register(search.folder, pair=1)
    sync(search, state="interrupted")
    with durable.own(search.folder):
        assert register(search.folder, pair=1).version == 1
    (state,) = {found.data.tags["jdn.status"] for found in _search_runs(search)}
    assert state == "interrupted"


def _search_runs(run: Run, name: str = "tiny") -> list[Any]:
    client = client_of(run)
    ids = [each.experiment_id for each in client.search_experiments() if each.name == name]
    return list(client.search_runs(ids, "tags.`jdn.kind` = 'search'"))


@pytest.mark.parametrize(
    ("options", "code", "what"),
    [
        (("--alias", "v2"), 64, "alias must be letters, digits"),
        (("--alias", "Latest"), 64, "got 'Latest'"),
        (("--alias", "the best"), 64, "got 'the best'"),
        (("--model", "a/b"), 64, "model's name must be up to 100 letters"),
        (("--pair", 99), 66, "no finished pair 99; there are [0, 1, 2, 3, 4]"),
    ],
)
def test_wrong_names_and_pairs_are_refused(
    search: Run,
    jdn: Callable[..., tuple[int, str, str]],
    options: tuple[object, ...],
    code: int,
    what: str,
) -> None:
    got, _, err = jdn("publish", search.folder, *options)
    assert (got, what in err) == (code, True), err
    assert client_of(search).search_registered_models() == []


def test_failed_pairs_and_no_search_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no finished pair 2"):
        register(made(tmp_path / "search").folder, pair=2)
    with pytest.raises(InputMissing, match="no search there"):
        register(tmp_path)


def test_what_is_not_registered_or_not_ours_cannot_be_fetched(
    published: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri = tracking_uri(published)
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI"), models.opened("models:/tiny@champion"):
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputMissing, match="models:/tiny@champion: not in MLflow"):
        fetch_model("tiny", "@champion", uri, tmp_path)
    with (
        pytest.raises(UsageError, match="models:/NAME@ALIAS or models:/NAME/VERSION"),
        models.opened("models:/x"),
    ):
        pass
    client = client_of(published)
    client.create_registered_model("foreign")
    client.create_model_version("foreign", pair_of(published, 1).info.artifact_uri)
    with (
        pytest.raises(InputMissing, match="is no detector that jdn published"),
        models.opened("models:/foreign/1"),
    ):
        pass


@pytest.mark.parametrize("name", ["weights.safetensors", "detector.json"])
def test_a_registered_detector_that_was_changed_is_refused(
    published: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(published.folder, pair=1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(published))
    place = client_of(published).get_model_version_download_uri("tiny", "1").removeprefix("file://")
    flip(Path(place, "artifacts", name))
    with pytest.raises(CheckpointError), models.opened("models:/tiny/1") as found:
        models.predict(found, [Path(photos_of(published)[0])], out=None, least=0.5, device="cpu")


@pytest.mark.services
@pytest.mark.timeout(600)
def test_lost_replies_of_a_server_leave_one_version(
    search: Run, server: MlflowServer, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: set[str] = set()

    def every_first_answer(method: str, path: str) -> bool:
        if method == "GET" or path in cut:
            return False
        cut.add(path)
        return True

    told = at(search, server.uri, name="lossy")
    sync(told, state="finished")
    row, base = searches.row(search.folder, 2), searches.base(search.folder)
    with Proxy(server.port, every_first_answer) as proxy:
        found = register_pair(at(search, proxy.uri, "lossy"), row, base, model="lossy", alias="a")
        assert proxy.lost > 5
    (version,) = versions(told, "lossy")
    assert (int(version.version), version.aliases) == (found.version, ["a"])
    place = client_of(told).get_model_version("lossy", version.version).source
    model = client_of(told).get_logged_model(place.split("/models/")[1].partition("/")[0])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "lossy", "version": found.version}]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    photo = photos_of(search)[:1]
    with models.opened("models:/lossy@a") as registered:
        there = models.predict(registered, [Path(photo[0])], out=None, least=0.0, device="cpu")
    here = models.predict(
        models.find(f"{search.folder}#2"), [Path(photo[0])], out=None, least=0.0, device="cpu"
    )
    assert there == here
    assert not registered.folder.exists()


@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_machine_without_the_search_publishes_the_winner_out_of_mlflow(
    search: Run, server: MlflowServer, prefect_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client

    from flows.forms import upgrade

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("JDN_HOME", str(tmp_path / "home"))
    settings = search.settings.model_copy(update={"name": "away"})
    told = Run(settings, search.folder)
    (search.folder / "settings.yaml").write_text(settings_file.dump(settings))
    best, table = searches.row(search.folder, None), searches.rows(search.folder)
    with get_client(sync_client=True) as client:
        begun = client.create_flow_run(upgrade, parameters={"settings": {"name": "away"}})
    sync(told, state="finished")
    (run_id,) = [found.info.run_id for found in _search_runs(told, "away")]
    client_of(told).set_tag(run_id, "jdn.flow_run", str(begun.id))
    search.folder.rename(tmp_path / "elsewhere")

    answer = publish.publish(str(begun.id))
    assert (answer["model"], answer["pair"], answer["sha256"]) == ("away", best.index, best.sha256)
    child = next(row for row in reversed(table) if row.parent is not None and row.weights is not None)
    assert publish.publish(str(begun.id), pair=child.index, alias="calm")["key"] == child.key
    tags = {each.tags["jdn.pair_index"]: each.tags for each in versions(told, "away")}
    assert tags[str(child.index)]["jdn.parent_pair"] == str(child.parent)
    assert len(tags[str(child.index)]["jdn.parent_run"]) == 32
    with pytest.raises(InputMissing, match="MLflow has no finished pair 99; there are"):
        register_from(run_id, server.uri, pair=99)
    assert not (tmp_path / "home").exists()


def test_the_flow_shows_its_link_in_prefect(published: Run, prefect_server: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    state = publish.publish(str(published.folder), pair=1, return_state=True)
    answer, run_id = state.result(), state.state_details.flow_run_id
    assert run_id is not None
    assert (answer["model"], answer["version"], answer["alias"]) == ("tiny", 1, "champion")
    with get_client(sync_client=True) as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        found = {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=mine)}
    assert found.keys() == {"jdn-model", "jdn-model-page"}
    assert all(answer["page"] in text for text in found.values())
