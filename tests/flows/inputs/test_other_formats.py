"""Datasets of YOLO and VOC, named wherever a dataset is: made COCO format once, with an account."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.inputs import models
from flows.inputs.other_formats import in_coco
from flows.inputs.settings_file import Override
from flows.launch import requests
from jdn_core.errors import DataError, InputMissing, StorageError
from tests.tiny_run import shapes

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JDN_HOME", str(tmp_path / "home"))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return shapes(tmp_path / "shapes")


def yolo(coco: Path, folder: Path) -> Path:
    """The dataset as Ultralytics has it, whole boxes of one class, with a file that is no part of it."""
    for split in ("train", "val"):
        (folder / "labels" / split).mkdir(parents=True)
        shutil.copytree(coco / split, folder / "images" / split)
        for picture in (folder / "images" / split).iterdir():
            (folder / "labels" / split / f"{picture.stem}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [thing]\n")
    (folder / "notes.md").write_text("mine")
    return folder


def voc(coco: Path, folder: Path) -> Path:
    """The same as a labelling service exports VOC: XML beside the pictures."""
    for split, name in (("train", "train"), ("val", "valid")):
        shutil.copytree(coco / split, folder / name)
        for picture in list((folder / name).iterdir()):
            box = "<xmin>4</xmin><ymin>6</ymin><xmax>40</xmax><ymax>50</ymax>"
            (folder / name / f"{picture.stem}.xml").write_text(
                f"<annotation><filename>{picture.name}</filename>"
                "<size><width>64</width><height>64</height><depth>3</depth></size>"
                f"<object><name>thing</name><bndbox>{box}</bndbox></object></annotation>"
            )
    return folder


@pytest.mark.parametrize("make", [yolo, voc])
def test_a_dataset_is_converted_once_and_accounted_for(
    make: Callable[[Path, Path], Path], coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(coco, tmp_path / "own")
    first = in_coco(source)
    (line,) = capsys.readouterr().err.splitlines()
    files = sum(path.is_file() for path in source.rglob("*"))
    used = files - 1 if make is yolo else files
    assert line.startswith(f"data: {source}: {'YOLO' if make is yolo else 'PASCAL VOC'}, ")
    assert f"16 train, 4 val, {used} of {files} files used" in line
    assert ("left out: 1 no part of the dataset" in line) == (make is yolo)
    assert line.endswith(f"; made COCO format in {first}")
    assert in_coco(source) == first
    assert capsys.readouterr().err == f"data: {source}: {line.split(': ')[2].split(',')[0]}, " + (
        f"made COCO format before in {first}\n"
    )


@pytest.mark.parametrize(("make", "title"), [(yolo, "YOLO"), (voc, "PASCAL VOC")])
def test_of_two_formats_in_a_folder_coco_is_taken_and_said(
    make: Callable[[Path, Path], Path],
    title: str,
    coco: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = make(coco, tmp_path / "own")
    shutil.copytree(coco / "annotations", source / "annotations")
    assert in_coco(source) == source
    assert f"{source}: COCO format and {title} lie there; COCO format is taken" in capsys.readouterr().err
    assert in_coco(coco) == coco
    assert capsys.readouterr().err == ""


def test_changed_files_are_converted_again(coco: Path, tmp_path: Path) -> None:
    source = yolo(coco, tmp_path / "own")
    first = in_coco(source)
    (next((source / "labels" / "train").iterdir())).write_text("0 0.5 0.5 0.3 0.3\n")
    second = in_coco(source)
    assert first != second
    assert in_coco(source, drop_bad_boxes=True) not in (first, second)


def test_the_description_by_itself_names_its_dataset(coco: Path, tmp_path: Path) -> None:
    source = yolo(coco, tmp_path / "own")
    found = in_coco(source / "data.yaml")
    assert len(models.read_split(found, "val", drop_bad_boxes=False).images) == 4


def test_coco_format_and_what_is_nothing_stay_as_they_are(coco: Path, tmp_path: Path) -> None:
    (coco / "data.yaml").write_text("train: train\nnames: [thing]\n")
    assert in_coco(coco) == coco
    assert in_coco(tmp_path / "nowhere") == tmp_path / "nowhere"
    (tmp_path / "empty").mkdir()
    assert in_coco(tmp_path / "empty") == tmp_path / "empty"


def test_a_broken_dataset_is_refused_and_leaves_no_copy(coco: Path, tmp_path: Path) -> None:
    source = yolo(coco, tmp_path / "own")
    (next((source / "labels" / "train").iterdir())).write_text("7 0.5 0.5 0.3 0.3\n")
    with pytest.raises(DataError, match=r"class must be a whole number in 0\.\.0"):
        in_coco(source)
    assert not any((tmp_path / "home" / "converted").iterdir())


def test_a_home_that_cannot_be_written_is_told(coco: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match=r"converted: cannot be written"):
        in_coco(yolo(coco, tmp_path / "own"))


@pytest.mark.parametrize("make", [yolo, voc])
def test_commands_take_such_datasets(
    make: Callable[[Path, Path], Path], coco: Path, tmp_path: Path, jdn: Run
) -> None:
    source = make(coco, tmp_path / "own")
    found = requests.of_source("bccd_cpu", [Override("--data", "data.root", str(source))])
    assert found.data.root is not None
    assert found.data.root.is_relative_to(tmp_path / "home" / "converted")
    assert len(models.read_split(source, "train", drop_bad_boxes=False).images) == 16
    code, out, _ = jdn("data", "check", source, "--json")
    assert (code, json.loads(out)["images"]) == (0, 20)


def test_files_are_named_one_by_one(coco: Path, tmp_path: Path) -> None:
    changes = requests.overrides(
        train_json=coco / "annotations" / "train.json", train_images=coco / "train", val_json=None
    )
    assert [(each.source, each.key) for each in changes] == [
        ("--train-json", "data.train_json"),
        ("--train-images", "data.train_images"),
    ]
    found = requests.of_source("bccd_cpu", changes)
    assert found.data.train_images == coco / "train"
    with pytest.raises(InputMissing, match=r"nowhere.json: no such file; data.train_json names"):
        requests.of_source("bccd_cpu", requests.overrides(train_json=tmp_path / "nowhere.json"))
