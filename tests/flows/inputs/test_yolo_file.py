"""A YOLO dataset's data.yaml: every common way of writing it, and every fault named."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.inputs.yolo_file import YoloFile, read_yolo_file
from jdn_core.errors import DataError, InputMissing


def write(folder: Path, text: str, name: str = "data.yaml") -> Path:
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("names", ["[cup, 7]", "{0: cup, 1: 7}", "\n  1: '7'\n  0: cup", "\n- cup\n- '7'"])
def test_names_may_be_a_list_or_numbered(names: str, tmp_path: Path) -> None:
    write(tmp_path, f"train: images/train\nval: images/val\nnc: 2\nnames: {names}\n")
    assert read_yolo_file(tmp_path) == YoloFile(tmp_path, ("cup", "7"), "images/train", "images/val")


def test_the_file_may_have_another_name_and_no_val(tmp_path: Path) -> None:
    write(tmp_path, "train: images\nval:\nnames: [cup]\n", "coco8.yaml")
    assert read_yolo_file(tmp_path / "coco8.yaml") == YoloFile(tmp_path, ("cup",), "images", None)


@pytest.mark.parametrize(
    ("path", "root"),
    [("inner", "inner"), (".", "."), ("../datasets/cups", "."), ("/cups", "."), ("gone", ".")],
)
def test_path_counts_only_below_the_file(path: str, root: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path, f"path: {path}\ntrain: ../train/images\nnames: [cup]\n")
    said = read_yolo_file(tmp_path)
    assert (said.root, said.train) == (tmp_path / root, "train/images")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train: a\nnames: [no]", "data.yaml: names.0: must be a text, got False; put it in quotes"),
        ("train: a\nnames: {1: cup}", "data.yaml: names: must number the classes 0, 1, 2, ..., got 1"),
        ("train: a\nnames: {0: cup, 0: dog}", "key '0' was given already in line 2"),
        ("train: a", "data.yaml: names: must list the names of the classes, got None"),
        ("train: a\nnc: 3\nnames: [cup]", "data.yaml: nc: must be the number of names, 1, got 3"),
        ("names: [cup]", "data.yaml: train: must be one folder of pictures, got nothing"),
        (
            "train: [a, b]\nnames: [cup]",
            r"data.yaml: train: must be one folder of pictures, got \['a', 'b'\]",
        ),
        ("train: a\nval: v.txt\nnames: [cup]", "data.yaml: val: must be one folder of pictures, got 'v.txt'"),
        ("train: a\nnames: [cup]\nkpt_shape: [17, 3]", "labels of poses are not converted"),
        ("train: !!python/name:os.system a", "tags are not allowed"),
        ("", "data.yaml: is empty; see the description of YOLO's data.yaml"),
    ],
)
def test_what_breaks_a_rule_is_named(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=problem):
        read_yolo_file(write(tmp_path, text))


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_yolo_file(write(tmp_path, "train: 3\nval: 4\nnames: []\n"))
    assert [problem.where for problem in caught.value.problems] == ["names", "train", "val"]


def test_without_the_file_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"data\.yaml: no such file"):
        read_yolo_file(tmp_path)
