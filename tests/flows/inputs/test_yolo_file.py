"""A YOLO dataset's data.yaml: every common way of writing it, and every fault named."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.inputs.yolo_file import YoloFile, read_yolo_file
from jdn_core.errors import DataError, InputMissing


def write(folder: Path, text: str, name: str = "data.yaml") -> Path:
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    "names", ["[cup, 7]", "{0: cup, 1: 7}", "\n  1: '7'\n  0: cup", "\n- cup\n- '7'", "{'0': cup, '1': 7}"]
)
def test_names_may_be_a_list_or_numbered(names: str, tmp_path: Path) -> None:
    write(tmp_path, f"train: images/train\nval: images/val\nnc: 2\nnames: {names}\n")
    assert read_yolo_file(tmp_path).names == ("cup", "7")


def test_a_name_is_what_is_written(tmp_path: Path) -> None:
    write(tmp_path, "train: a\nnames: [0012, no, 1e3, 2024-01-02, 0x1F, 1_000]\n")
    assert read_yolo_file(tmp_path).names == ("0012", "no", "1e3", "2024-01-02", "0x1F", "1_000")


def test_the_file_may_have_another_name_and_no_val(tmp_path: Path) -> None:
    write(tmp_path, "train: images\nval:\nnames: [cup]\n", "coco8.yaml")
    file = tmp_path / "coco8.yaml"
    assert read_yolo_file(file) == YoloFile(
        tmp_path, file, ("cup",), {"train": ("images",)}, "train = images (coco8.yaml)"
    )


@pytest.mark.parametrize("key", ["val", "valid", "validation"])
@pytest.mark.parametrize("value", ["images/val", "./images/val/", "{here}/images/val", "../images/val"])
def test_val_may_have_any_usual_key_and_path(key: str, value: str, tmp_path: Path) -> None:
    write(tmp_path, f"train: images/train\n{key}: {value.format(here=tmp_path)}\nnames: [cup]\n")
    assert read_yolo_file(tmp_path).splits == {"train": ("images/train",), "val": ("images/val",)}


@pytest.mark.parametrize(
    ("folders", "wanted"),
    [
        (("train/images", "val/images"), {"train": "train/images", "val": "val/images"}),
        (("images/train", "images/valid"), {"train": "images/train", "val": "images/valid"}),
        (("train", "validation", "test"), {"train": "train", "val": "validation", "test": "test"}),
        (("images",), {"train": "images"}),
    ],
)
def test_without_splits_the_usual_folders_count(
    folders: tuple[str, ...], wanted: dict[str, str], tmp_path: Path
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    found = read_yolo_file(write(tmp_path, "nc: 1\nnames: [cup]\n"))
    assert found.splits == {split: (folder,) for split, folder in wanted.items()}
    assert "data.yaml names n" in found.rule


def test_a_split_may_be_several_folders_or_a_list(tmp_path: Path) -> None:
    found = read_yolo_file(write(tmp_path, "train: [a, b]\nval: val.txt\nnames: [cup]\n"))
    assert found.splits == {"train": ("a", "b"), "val": ("val.txt",)}


def test_a_test_split_that_is_named_and_not_there_is_said(tmp_path: Path) -> None:
    found = read_yolo_file(write(tmp_path, "train: a\nval: b\ntest: ../test/images\nnames: [cup]\n"))
    assert (found.splits.keys(), found.rule) == (
        {"train", "val"},
        "train = a, val = b, test is named and not there (data.yaml)",
    )


@pytest.mark.parametrize(
    ("path", "root"),
    [("inner", "inner"), (".", "."), ("../datasets/cups", "."), ("/cups", "."), ("gone", ".")],
)
def test_path_counts_only_below_the_file(path: str, root: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path, f"path: {path}\ntrain: ../train/images\nnames: [cup]\n")
    said = read_yolo_file(tmp_path)
    assert (said.root, said.splits["train"]) == (tmp_path / root, ("train/images",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train: a\nnames: [~]", "data.yaml: names.0: must be a text, got None; put it in quotes"),
        ("train: a\nnames: {1: cup}", "data.yaml: names: must number the classes 0, 1, 2, ..., got 1"),
        ("train: a\nnames: {0: cup, 0: dog}", "key '0' was given already in line 2"),
        ("train: a", "data.yaml: names: must list the names of the classes, got None"),
        ("train: a\nnc: 3\nnames: [cup]", "data.yaml: nc: must be the number of names, 1, got 3"),
        ("names: [cup]", "data.yaml: train: must name the training pictures, got nothing"),
        ("val: a\nnames: [cup]", "data.yaml: train: must name the training pictures, got nothing"),
        (
            "train: [[a]]\nnames: [cup]",
            r"data.yaml: train: must be a folder of pictures, a text file .*, got \[\['a'\]\]",
        ),
        (
            "train: a\nval: b\nvalid: c\nnames: [cup]",
            "data.yaml: valid: must agree with the other folder of val",
        ),
        (
            "train: a\ndev: inner\nnames: [cup]",
            "data.yaml: dev: is no split that is known, got 'inner'; name it val",
        ),
        ("train: a\nnames: [cup]\nkpt_shape: [17, 3]", "labels of poses are not converted"),
        ("train: !!python/name:os.system a", "tags are not allowed"),
        ("", "data.yaml: is empty; see the description of YOLO's data.yaml"),
    ],
)
def test_what_breaks_a_rule_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError, match=problem):
        read_yolo_file(write(tmp_path, text))


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_yolo_file(write(tmp_path, "train: {}\nval: []\nnames: []\n"))
    assert [problem.where for problem in caught.value.problems] == ["names", "train", "val"]


def test_without_the_file_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"data\.yaml: no such file"):
        read_yolo_file(tmp_path)
