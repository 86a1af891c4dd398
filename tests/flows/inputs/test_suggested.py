from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.inputs.settings_file import load
from flows.inputs.suggested import in_short, suggested, written
from flows.launch import initial
from jdn_core.detector.build import build
from jdn_core.detector.naming import TORCHVISION
from jdn_core.errors import InputMissing, UsageError
from jdn_core.settings.data import DataSettings
from tests.jdn_core.detector.foreign import save, state_of
from tests.jdn_core.detector.test_portrait import spec
from tests.odd_data import KINDS, draw
from tests.tiny_run import shapes

PLACED = ("data", "train_json", "train_images", "val_json", "val_images")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("suggested") / "My photos")


def test_the_file_reads_back_as_the_settings(root: Path, tmp_path: Path) -> None:
    found = suggested(DataSettings(root=root, drop_bad_boxes=True))
    file = tmp_path / "mine.yaml"
    file.write_text(written(found))
    assert load(str(file)) == found.settings
    assert found.settings.name == "My-photos"
    assert found.settings.data.drop_bad_boxes


def test_every_choice_of_the_file_has_a_comment(root: Path) -> None:
    found = suggested(DataSettings(root=root))
    text = written(found)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 160
    for choice in found.suggestion.choices:
        key = choice.key.rpartition(".")[2]
        position = next(n for n, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        assert "#" in lines[position] or lines[position - 1].strip().startswith("#")
    assert yaml.safe_load(text)["data"]["root"] == str(root)


def test_a_checkpoint_decides_about_the_detector(root: Path, tmp_path: Path) -> None:
    file = save(state_of(build(spec("r50", classes=80)), TORCHVISION), tmp_path / "coco.pth")
    found = suggested(DataSettings(root=root), checkpoint=file)
    detector = found.settings.detector
    assert (detector.family, detector.width, detector.neck, detector.head) == ("r50", 0.125, 16, 24)
    assert (detector.pretrained, detector.checkpoint.head) == (file, "new")  # COCO has no circle
    assert len(detector.aspect_ratios) == 3
    assert "torchvision's r50 of width 0.125" in "\n".join(in_short(found))


def test_few_validation_photos_are_not_divided(tmp_path: Path) -> None:
    root = draw(KINDS["three_photos"], tmp_path / "three")
    found = suggested(DataSettings(root=root))
    assert found.settings.data.holdout == 0
    assert "1 validation photos are too few" in found.suggestion.reason("data.holdout")
    assert any("fewer than 10 boxes: class 0, class 1" in line for line in in_short(found))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_odd_photos_get_settings_too(kind: str, tmp_path: Path) -> None:
    found = suggested(DataSettings(root=draw(KINDS[kind], tmp_path / kind)))
    assert found.suggestion.anchors.after >= found.suggestion.anchors.before
    assert found.settings.base.batch <= KINDS[kind].train


@pytest.mark.parametrize("name", ["bccd", "coco_mini"])
def test_real_photos_get_settings(name: str, jdn_data: Path) -> None:
    found = suggested(DataSettings(root=jdn_data / name))
    assert found.settings.data.holdout == 0.4
    assert found.suggestion.anchors.after > 0.7
    if name == "bccd":  # what was measured for it comes out again, of its base to the letter
        preset = load("bccd_cpu")
        assert found.settings.base == preset.base
        assert found.settings.detector == preset.detector
        assert found.settings.data.resolutions == preset.data.resolutions
        assert found.settings.seed == preset.seed  # so the bases are the same net


@pytest.mark.parametrize(
    ("case", "drop"),
    [("modes", False), ("exif_upright", False), ("crowd", False), ("ids_gaps", False), ("zero_area", True)],
)
def test_tricky_files_get_settings(case: str, drop: bool, jdn_data: Path) -> None:
    places = {"train_json": jdn_data / f"tricky/annotations/{case}.json"}
    found = initial.looked_at(
        {**places, "train_images": jdn_data / "tricky/images"}, drop_bad_boxes=drop, device="cpu"
    )
    assert found.settings.name == case
    assert found.settings.data.root is None


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset: name its folder"):
        initial.looked_at({"root": None})
    with pytest.raises(InputMissing, match="no such dataset folder"):
        initial.looked_at({"root": tmp_path / "nowhere"})
    with pytest.raises(UsageError, match="two datasets"):
        initial.places("photos", dict.fromkeys(PLACED) | {"data": tmp_path})
    (tmp_path / "settings.yaml").write_text("name: x\n")
    given = dict.fromkeys(PLACED)
    with pytest.raises(UsageError, match="is a search, not a dataset; `jdn resume"):
        initial.places(str(tmp_path), given)


def test_a_checkpoint_that_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"w.pth: no such file; --checkpoint names one"):
        initial.looked_at({"root": root}, checkpoint=tmp_path / "w.pth")
