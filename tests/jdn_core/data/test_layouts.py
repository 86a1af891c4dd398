"""Layouts of datasets: recognised by what lies there and named; several are refused; val is drawn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jdn_core.data.coco.checking import check
from jdn_core.data.coco.dataset import ground_truth, load
from jdn_core.data.layouts import DRAWN, drawn_for_val, find_split, recognise
from jdn_core.data.shapes import generate
from jdn_core.data.twins import shared_pictures
from jdn_core.errors import DataError, InputMissing


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn photos for training and two for validation."""
    folder = tmp_path_factory.mktemp("layouts") / "shapes"
    generate(folder, images=10, size=48, seed=0)
    return folder


def arrange(source: Path, root: Path, annotations: str, images: str, *splits: str) -> Path:
    """Copies the splits into another layout; ``splits`` are their names there."""
    for split, name in zip(("train", "val"), splits, strict=False):
        file, folder = root / annotations.format(name), root / images.format(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source / split, folder, dirs_exist_ok=True)
        shutil.copy(source / "annotations" / f"{split}.json", file)
    return root


LAYOUTS = (
    ("annotations/{}.json", "{}", "train", "val"),
    ("annotations/{}.json", "images/{}", "train", "val"),
    ("annotations/instances_{}2017.json", "{}2017", "train", "val"),
    ("annotations/instances_{}.json", "images/{}", "train", "validation"),
    ("{}/_annotations.coco.json", "{}", "train", "valid"),
    ("{}/_annotations.coco.json", "{}", "train", "val"),
    ("{}/labels.json", "{}/data", "train", "validation"),
    ("{}/annotations.json", "{}/images", "train", "val"),
    ("{}.json", "images/{}", "train", "val"),
)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_layouts_in_wide_use_are_recognised(layout: tuple[str, ...], drawn: Path, tmp_path: Path) -> None:
    root = arrange(drawn, tmp_path, *layout)
    found = check(root)
    assert (found.ok, found.images) == (True, 10)
    files = [layout[0].format(name) for name in layout[2:]]
    assert found.notes == (f"{root}: {', '.join(files)}",)
    assert [len(load(*find_split(root, split)).images) for split in ("train", "val")] == [8, 2]


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("_annotations.coco.json", ""),
        ("labels.json", "data"),
        ("result.json", "images"),
        ("annotations/instances_default.json", "images/default"),
        ("train/_annotations.coco.json", "train"),
    ],
)
def test_without_a_val_split_a_fifth_is_drawn_and_said(
    annotations: str, images: str, drawn: Path, tmp_path: Path
) -> None:
    root = arrange(drawn, tmp_path, annotations, images, "train")
    train, val = (load(*find_split(root, split)) for split in ("train", "val"))
    names = [{image.path.name for image in dataset.images} for dataset in (train, val)]
    assert (len(names[0] | names[1]), names[0] & names[1]) == (8, set())
    assert {*ground_truth(val).imgs} == {image.id for image in val.images}
    assert train.fingerprint != val.fingerprint
    found = check(root)
    assert (found.ok, found.images, found.notes) == (True, 8, (f"{root}: {annotations}; {DRAWN}",))


@pytest.mark.parametrize("count", [2, 3, 10, 1000])
def test_the_drawn_part_is_a_fifth_and_never_nothing_or_all(count: int) -> None:
    names = [f"{number:04}.jpg" for number in range(count)]
    drawn = drawn_for_val(names)
    assert 1 <= len(drawn) < count
    assert abs(len(drawn) - count / 5) <= max(2, count * 0.05)
    assert drawn == drawn_for_val(reversed(names))


def test_pictures_that_are_added_leave_the_others_on_their_side() -> None:
    few, many = (drawn_for_val(f"{number}.jpg" for number in range(count)) for count in (100, 300))
    assert few == {name for name in many if int(name.partition(".")[0]) < 100}


@pytest.mark.parametrize("other", LAYOUTS[2:], ids=str)
def test_several_fitting_layouts_are_an_error_that_lists_them(
    other: tuple[str, ...], drawn: Path, tmp_path: Path
) -> None:
    arrange(drawn, tmp_path, *LAYOUTS[0])
    arrange(drawn, tmp_path, *other)
    with pytest.raises(DataError) as caught:
        recognise(tmp_path)
    assert str(caught.value).splitlines()[1:] == [
        f"{tmp_path}: {', '.join(layout[0].format(name) for name in layout[2:])}"
        for layout in (LAYOUTS[0], other)
    ]
    assert not check(tmp_path).ok


def test_a_file_of_all_pictures_beside_the_splits_is_no_second_layout(drawn: Path, tmp_path: Path) -> None:
    arrange(drawn, tmp_path, *LAYOUTS[4])
    (tmp_path / "annotations.json").write_text("{}")
    (tmp_path / "test.json").write_text("{}")
    assert check(tmp_path).ok


def test_names_that_begin_with_the_images_folder_are_found(drawn: Path, tmp_path: Path) -> None:
    root = arrange(drawn, tmp_path, "result.json", "images", "train")
    content = json.loads((root / "result.json").read_text())
    for image in content["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    (root / "result.json").write_text(json.dumps(content))
    assert check(root).ok


@pytest.mark.parametrize(
    ("file", "kind"),
    [("data.yaml", "YOLO"), ("Annotations/a.xml", "PASCAL VOC"), ("train/a.xml", "PASCAL VOC")],
)
def test_another_format_is_named_with_the_command_that_converts_it(
    file: str, kind: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(InputMissing, match=f"is a dataset of {kind}; `jdn data convert "):
        find_split(tmp_path, "train")


def test_pictures_in_train_and_val_are_named(drawn: Path, tmp_path: Path) -> None:
    root = arrange(drawn, tmp_path, *LAYOUTS[0])
    first, second = sorted((root / "val").iterdir())
    shutil.copy(first, root / "train" / sorted(path.name for path in (root / "train").iterdir())[0])
    train, val = (sorted((root / split).iterdir()) for split in ("train", "val"))
    assert [(one.name, other.name) for one, other in shared_pictures(train, val)] == [
        (train[0].name, first.name)
    ]
    assert shared_pictures(train[1:], [second]) == shared_pictures([], val) == []
    note = check(root, decode=False).notes[-1]
    assert note.startswith("WARNING: 1 pictures are in train and in val, so AP on val flatters: ")
