"""A fork: another search from the same pairs, under settings that a resume refuses."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.inputs import settings_file
from flows.launch.fork import fork
from jdn_core.errors import CheckpointError, FingerprintError, UsageError
from jdn_core.run import assemble
from jdn_core.run.fingerprint import fingerprint
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.records import Records
from jdn_core.settings.search import ScoreSettings
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tests import results
from tests.tasks.tracking.searches import climb, trained
from tests.tiny_run import shapes, tiny_settings

PAIRS = 3
CHEAP = ScoreSettings(alpha=0.1)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search of three pairs."""
    folder = tmp_path_factory.mktemp("old")
    run = trained(tiny_settings(shapes(folder / "shapes"), iterations=PAIRS), folder / "run")
    (run.folder / "settings.yaml").write_text(settings_file.dump(run.settings))
    durable.write_json(run.folder / "fingerprint.json", fingerprint(run.settings), schema=1)
    climb(run, PAIRS)
    return run


def like(run: Run, **changes: Any) -> Settings:
    """The old search's settings with room for two more pairs, and other changes at the top."""
    assert run.settings.data.root is not None
    return tiny_settings(run.settings.data.root, iterations=PAIRS + 2).model_copy(update=changes)


def test_a_fork_goes_on_from_the_old_pairs_under_another_score(old: Run, tmp_path: Path) -> None:
    settings = like(old, score=CHEAP, name="thrifty", seed=9)
    assert fork(old.folder, tmp_path / "new", settings) == PAIRS + 1
    new = Run(settings, tmp_path / "new")
    # Both as files say: what this process committed itself it keeps as it was, with tuples for JSON's lists.
    before, after = (Records(folder).all() for folder in (old.folder, new.folder))
    assert [record.evaluation for record in after] == [record.evaluation for record in before]
    assert {(record.pair.search, record.pair.seed) for record in after} == {("thrifty", 9)}
    assert results.problems(new.records) == ()
    assert settings_file.load(str(new.folder / "settings.yaml")) == settings
    climb(new, PAIRS + 1)
    assert [record.pair.index for record in Run(settings, new.folder).records.all()] == [0, 1, 2, 3, 4]


def test_files_are_linked_not_copied(old: Run, tmp_path: Path) -> None:
    fork(old.folder, tmp_path / "new", like(old, score=CHEAP))
    for name in ("base/weights.safetensors", "pool/weights.safetensors"):
        assert os.path.samefile(old.folder / name, tmp_path / "new" / name)
    key = old.records.all()[1].pair.key
    assert os.path.samefile(
        old.records.path(key) / "weights.safetensors", tmp_path / "new/pairs" / key / "weights.safetensors"
    )


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"data": {"resolutions": ["64x64"]}}, "data.resolutions"),
        ({"detector": {"rois_per_image": 32}}, "detector.rois_per_image"),
        ({"pool": {"space": {"widths": [1.0]}}}, "pool.space.widths"),
    ],
)
def test_what_the_old_numbers_mean_may_not_change(
    old: Run, tmp_path: Path, sections: dict[str, Any], place: str
) -> None:
    data = like(old).model_dump(mode="json")
    for section, values in sections.items():
        for key, value in values.items():
            data[section][key] = {**data[section][key], **value} if isinstance(value, dict) else value
    if place.startswith("pool"):
        for phase in data["pool"]["phases"]:
            phase["widths"] = None
    with pytest.raises(FingerprintError, match=f"settings.yaml: {place}: must stay .* mean something else"):
        fork(old.folder, tmp_path / "new", Settings.model_validate(data))
    assert not (tmp_path / "new").exists()


def test_another_dataset_is_refused(old: Run, tmp_path: Path) -> None:
    from jdn_core.data.shapes import generate

    generate(tmp_path / "others", images=10, size=64, seed=5)
    with pytest.raises(FingerprintError, match=r"fingerprint\.json: train: was .* measured on it"):
        fork(old.folder, tmp_path / "new", tiny_settings(tmp_path / "others", iterations=9))


def test_a_fork_needs_room_and_something_to_do(old: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(UsageError, match="is not empty; choose another --fork DIR"):
        fork(old.folder, tmp_path / "taken", like(old))
    with pytest.raises(
        UsageError, match=r"has 3 pairs after the base already; --set search\.iterations=N, N >= 4"
    ):
        fork(old.folder, tmp_path / "new", old.settings)


def test_a_damaged_file_of_the_old_search_is_not_taken_over(old: Run, tmp_path: Path) -> None:
    copy = Run(old.settings, shutil.copytree(old.folder, tmp_path / "copy"))
    file = copy.records.path(copy.records.all()[2].pair.key) / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged; `jdn verify"):
        fork(copy.folder, tmp_path / "new", like(old))
    assert list(tmp_path.glob("*new*")) == []


def test_pairs_that_were_tried_are_not_proposed_again(old: Run, tmp_path: Path) -> None:
    settings = like(old, score=CHEAP)
    fork(old.folder, tmp_path / "new", settings)
    records = Run(settings, tmp_path / "new").records.all()
    pair = HillClimber(assemble.climb_rules(settings), records).ask()
    assert (pair.student, pair.teacher) not in {(r.pair.student, r.pair.teacher) for r in records}
