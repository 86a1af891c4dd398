"""Studies: every one of them at tiny budgets, and one of each kind after kills."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.inputs import settings_file
from flows.studies import reading, trained
from flows.studies.opening import prepared
from jdn_core.errors import FingerprintError
from jdn_core.studies import answer, catalogue
from jdn_core.studies.folder import StudyFolder
from jdn_core.studies.quick import quick
from tests.flows.commands import jdn, killed_at
from tests.tiny_run import shapes, tiny_settings

Run = Callable[..., tuple[int, str, str]]
pytestmark = [
    pytest.mark.services,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(1500),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file over drawn shapes, half of whose validation photos are held out."""
    folder = tmp_path_factory.mktemp("tiny")
    settings = tiny_settings(shapes(folder / "shapes"), iterations=2, data={"holdout": 0.5})
    (folder / "tiny.yaml").write_text(settings_file.dump(settings))
    return folder / "tiny.yaml"


@pytest.fixture(scope="module")
def studies(file: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A folder in which the studies share bases, pools and arms."""
    return prepared(quick(settings_file.load(str(file))), tmp_path_factory.mktemp("studies") / "out")


@pytest.mark.parametrize("name", catalogue.STUDIES)
def test_every_study_runs_at_tiny_budgets(name: str, studies: StudyFolder) -> None:
    study = catalogue.STUDIES[name]
    told = trained.run(studies, study, seeds=1)
    assert (told["study"], told["verdict"]) == (name, "undecided at 1 seed")
    assert set(told) >= {"rows", "difference", "interval", "seeds", "seconds"}
    assert [row["failures"] for row in told["rows"]] == [[]] * len(told["rows"])
    assert all(row["image_macs"] > 0 and row["ap"] >= 0 for row in told["rows"])
    compared = [name for each in study.compared(studies.settings) for name in (*each.first, *each.second)]
    assert set(compared) <= {row["arm"] for row in told["rows"]}
    page = (studies.study(name) / "index.html").read_text()
    assert study.claim in page.replace("&#39;", "'")
    assert "<script src" not in page
    client = MlflowClient(told["mlflow"]["uri"])
    experiment = client.get_experiment_by_name(f"tiny-study-{name}")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    keys = {run.data.tags.get("jdn.arm_key", "study") for run in runs}
    assert len(keys) == len(runs)
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize("name", ["iterative", "joint"])
def test_a_study_that_is_run_again_changes_nothing(name: str, studies: StudyFolder) -> None:
    before = answer.read(studies.study(name)) or trained.run(studies, catalogue.STUDIES[name], seeds=1)
    times = {each: each.stat().st_mtime_ns for each in studies.folder.rglob("arm.json")}
    told = trained.run(studies, catalogue.STUDIES[name], seeds=1)
    assert {key: told[key] for key in before} == before
    assert {each: each.stat().st_mtime_ns for each in times} == times


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("iterative", ("base: 4/4", "study 1: 4/4", "evaluate 48x48")),
        ("pool-search", ("pool shrink-1: 1/", "search: 1/", "pool search")),
    ],
)
def test_a_killed_study_ends_with_the_same_answer(
    name: str, lines: tuple[str, ...], file: Path, studies: StudyFolder, tmp_path: Path
) -> None:
    words = ("study", name, str(file), "--quick", "--out", str(tmp_path / "out"))
    for line in lines:
        killed_at(line, *words)
    done = jdn(*words, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    kept = answer.read(tmp_path / "out" / name)
    assert kept is not None
    assert {key: told[key] for key in kept} == kept
    undisturbed = trained.run(studies, catalogue.STUDIES[name], seeds=1)
    assert answer.without_times(kept) == answer.without_times({key: undisturbed[key] for key in kept})
    assert [str(each) for each in (tmp_path / "out").rglob(".*.tmp")] == []


@pytest.mark.parametrize("name", catalogue.READERS)
def test_a_finished_search_is_read(name: str, studies: StudyFolder, tmp_path: Path) -> None:
    trained.run(studies, catalogue.STUDIES["fine-tuning"], seeds=1)
    (stage,) = catalogue.STUDIES["fine-tuning"].stages
    search = studies.search(0, stage(studies.run(0).settings, {})[0].source).folder
    told = reading.run(catalogue.READERS[name], [search], tmp_path)
    assert (told["study"], told["verdict"], told["seeds"]) == (name, "undecided at 1 seed", 1)
    assert told["rows"]
    assert told["mlflow"]["error"] is None
    assert (tmp_path / name / "index.html").is_file()
    thrice = reading.run(catalogue.READERS[name], [search] * 3, tmp_path / "thrice")
    assert thrice["interval"] == pytest.approx([told["difference"]] * 2)
    assert len(thrice["rows"]) == 3 * len(told["rows"])


def test_other_settings_take_another_folder_and_no_time_leaves_the_study_open(
    file: Path, tmp_path: Path
) -> None:
    settings = quick(settings_file.load(str(file)))
    study = catalogue.STUDIES["pruning"]
    with pytest.raises(trained.OutOfTime):
        trained.run(prepared(settings, tmp_path), study, seeds=1, deadline=0.0)
    open_ = trained.unfinished(prepared(settings, tmp_path), study)
    assert (open_["verdict"], open_["rows"]) == ("not finished", [])
    other = settings.model_copy(update={"seed": settings.seed + 1})
    with pytest.raises(FingerprintError, match="settings"):
        trained.run(prepared(other, tmp_path), study, seeds=1, deadline=0.0)
