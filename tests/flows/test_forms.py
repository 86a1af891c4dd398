"""What a form starts, inside this process: how a flow run ends, and where its folder is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Crashed
from prefect.utilities.callables import parameter_schema

from flows import forms
from jdn_core.search.records import Records
from jdn_core.settings.whole import Settings
from tests.tiny_run import shapes, tiny_settings

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JDN_HOME", str(tmp_path / "home"))


def ended(form: Any, **parameters: Any) -> State[Any]:
    state: State[Any] = form(**parameters, return_state=True)
    return state


def with_data(settings: Settings, root: str | None) -> dict[str, Any]:
    data = settings.model_dump(mode="json")
    return {**data, "data": {**data["data"], "root": root}}


@pytest.mark.parametrize(
    "root, said",
    [(None, "no dataset: give --data DIR, or --train-json"), ("nowhere", "nowhere: no such dataset folder")],
)
def test_a_dataset_that_is_not_here_ends_the_run_failed_in_the_words_of_the_command_line(
    tmp_path: Path, root: str | None, said: str
) -> None:
    state = ended(forms.upgrade, settings=with_data(tiny_settings(tmp_path), root))
    assert state.is_failed()
    assert said in str(state.message)
    assert "\n" not in str(state.message)
    assert not (tmp_path / "home").exists()


def test_a_gpu_that_is_not_here_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    settings = with_data(tiny_settings(tmp_path), str(tmp_path)) | {"device": "cuda"}
    state = ended(forms.train_pool, settings=settings)
    assert str(state.message).startswith("settings: device: torch sees no GPU here, got 'cuda'")


def test_a_bad_dataset_leaves_no_folder_behind(tmp_path: Path) -> None:
    root = shapes(tmp_path / "shapes")
    (root / "annotations" / "val.json").write_text("{}")
    state = ended(forms.upgrade, settings=with_data(tiny_settings(root), str(root)))
    assert state.is_failed()
    assert "val.json" in str(state.message)
    assert not list((tmp_path / "home").iterdir())


def test_a_resume_of_what_is_nowhere_says_so(tmp_path: Path) -> None:
    state = ended(forms.resume, search=str(tmp_path / "gone"))
    assert "no search there" in str(state.message)


def test_a_run_that_was_killed_before_it_had_a_folder_is_begun_by_its_resume(tmp_path: Path) -> None:
    settings = tiny_settings(shapes(tmp_path / "shapes"), iterations=1).model_dump(mode="json")
    with get_client(sync_client=True) as client:
        killed = client.create_flow_run(forms.upgrade, parameters={"settings": settings}, state=Crashed())
        again = client.create_flow_run(forms.resume, parameters={"search": str(killed.id)}, state=Crashed())
    state = ended(forms.resume, search=str(again.id), iterations=2)
    assert state.is_completed(), state.message
    assert len(Records(tmp_path / "home" / f"tiny-{str(killed.id)[:8]}").all()) == 3


def test_a_pool_that_was_killed_so_early_is_trained_by_its_resume(tmp_path: Path) -> None:
    settings = tiny_settings(shapes(tmp_path / "shapes")).model_dump(mode="json")
    parameters = {"settings": settings, "out": str(tmp_path / "out")}
    with get_client(sync_client=True) as client:
        killed = client.create_flow_run(forms.train_pool, parameters=parameters, state=Crashed())
    state = ended(forms.resume, search=str(killed.id))
    assert (state.is_completed(), state.name) == (True, "Trained"), state.message
    assert (tmp_path / "out" / "pool" / "pool.json").is_file()


def test_a_search_that_another_machine_began_goes_on_here_out_of_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings = tiny_settings(shapes(tmp_path / "shapes"), iterations=1)
    begun = ended(forms.upgrade, settings=settings.model_dump(mode="json"))
    assert begun.is_completed(), begun.message
    monkeypatch.setenv("JDN_HOME", str(tmp_path / "elsewhere"))
    search = str(begun.state_details.flow_run_id)
    resumed = ended(forms.resume, search=search, iterations=2)
    assert resumed.is_completed(), resumed.message
    there, here = (Records(tmp_path / home / f"tiny-{search[:8]}") for home in ("home", "elsewhere"))
    assert here.all()[:2] == there.all()
    assert len(here.all()) == 3


def test_the_worker_may_know_where_the_dataset_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JDN_DATA_ROOT", str(tmp_path / "mounted"))
    state = ended(forms.upgrade, settings=with_data(tiny_settings(tmp_path), None))
    assert f"{tmp_path}/mounted: no such dataset folder" in str(state.message)


def test_every_field_of_the_form_has_a_title_and_a_description() -> None:
    schema = parameter_schema(forms.search).model_dump()
    assert all(field.get("description") for field in schema["properties"].values())
    models = {name: found for name, found in schema["definitions"].items() if "properties" in found}
    bare = [
        f"{name}.{field}"
        for name, found in models.items()
        for field, text in found["properties"].items()
        if not (text.get("description") or "$ref" in text)
    ]
    assert not bare
    assert not [name for name, found in models.items() if found["title"] == name != "Settings"]
