"""Datasets as folders and files: found in both layouts, checked all at once, loaded as plain values."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jdn_core.data.coco.checking import check
from jdn_core.data.coco.dataset import CocoDataset, ground_truth, load, read_image, require_same_categories
from jdn_core.data.coco.document import Category
from jdn_core.data.layouts import find_split
from jdn_core.errors import DataError, InputMissing

Content = dict[str, Any]
Write = Callable[[Content], Path]


@pytest.fixture
def folder(write: Write, content: Content, tmp_path: Path) -> Path:
    """A sound dataset folder in our layout; both splits are the same."""
    file = write(content)
    shutil.copy(file, file.with_name("val.json"))
    shutil.copytree(tmp_path / "train", tmp_path / "val")
    return tmp_path


def places(path: Path, **options: Any) -> list[str]:
    return [f"{problem.file}:{problem.where}" for problem in check(path, **options).problems]


def test_a_record_holds_targets_as_ranks_of_category_ids(
    write: Write, content: Content, images: Path
) -> None:
    dataset = load(write(content), images)
    (record,) = dataset.images
    assert dataset.categories == (Category(3, "dog"), Category(14, "car"), Category(90, "cup"))
    assert (record.id, record.path, record.width, record.height) == (7, images / "a.png", 40, 30)
    assert record.boxes.tolist() == [[1, 2, 11, 10], [5.5, 5, 25.5, 25]]
    assert (record.labels.tolist(), record.boxes.dtype, record.labels.dtype) == ([3, 1], np.float32, np.int64)


def test_an_image_without_boxes_has_empty_targets(write: Write, content: Content, images: Path) -> None:
    content["images"].append({"id": 8, "file_name": "a.png", "width": 40, "height": 30})
    record = load(write(content), images).images[1]
    assert (record.boxes.shape, record.boxes.dtype, record.labels.shape) == ((0, 4), np.float32, (0,))


@pytest.mark.parametrize("layout", ["ours", "coco"])
def test_both_layouts_are_found_and_sound(folder: Path, layout: str) -> None:
    if layout == "coco":
        for split in ("train", "val"):
            (folder / split).rename(folder / f"{split}2017")
            annotations = folder / "annotations"
            (annotations / f"{split}.json").rename(annotations / f"instances_{split}2017.json")
    file, images, _ = find_split(folder, "val")
    assert (file.is_file(), images.is_dir(), file.stem[-3:]) == (
        True,
        True,
        "val" if layout == "ours" else "017",
    )
    found = check(folder)
    assert (found.ok, found.images, found.boxes, found.categories) == (True, 2, 4, 3)


def test_what_is_missing_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    with pytest.raises(InputMissing, match=r"val: no such folder, but val\.json"):
        find_split(folder, "val")
    assert places(folder) == [f"{folder.name}:val"]
    (folder / "annotations" / "train.json").unlink()
    with pytest.raises(InputMissing, match=r"no train split there, but annotations/val\.json$"):
        find_split(folder, "train")
    assert places(folder) == [f"{folder.name}:train", f"{folder.name}:val"]
    (folder / "annotations" / "val.json").unlink()
    with pytest.raises(InputMissing, match=r"none of annotations/train\.json, .*_annotations\.coco\.json"):
        find_split(folder, "val")
    assert places(folder) == [f"{folder.name}:layout"]
    with pytest.raises(InputMissing, match="no such file"):
        check(folder / "nothing")
    with pytest.raises(InputMissing, match="nothing: no such folder of images"):
        check(folder / "annotations" / "train.json", images=folder / "nothing")


def test_a_path_of_windows_is_told_how_to_be_written(write: Write, content: Content, images: Path) -> None:
    content["images"][0]["file_name"] = r"sub\a.png"
    (problem,) = check(write(content), images=images).problems
    assert str(problem) == (
        "train.json: images[0].file_name: no such file in train/ (No such file or directory), "
        r"got 'sub\\a.png'; write folders with /"
    )


def test_all_problems_of_both_splits_are_told_at_once(folder: Path, content: Content, write: Write) -> None:
    content["annotations"][0]["bbox"][2] = -3
    content["images"].append({"id": 8, "file_name": "b.png", "width": 1, "height": 1})
    write(content)
    (folder / "val" / "a.png").write_bytes(b"")
    assert places(folder) == [
        "train.json:annotations[0].bbox",
        "train.json:images[1].file_name",
        "val.json:images[0].file_name",
    ]


def test_fifty_problems_are_printed_and_all_are_counted(write: Write, content: Content, images: Path) -> None:
    content["annotations"] = [{"id": number, "image_id": 7, "category_id": 3} for number in range(60)]
    with pytest.raises(DataError) as caught:
        load(write(content), images)
    assert len(caught.value.problems) == 60
    assert str(caught.value).splitlines()[50:] == ["... and 10 more"]


def test_broken_json_is_a_problem_and_no_exception(folder: Path) -> None:
    (folder / "annotations" / "train.json").write_text('{"images": [')
    assert places(folder) == ["train.json:line 1, column 13"]


def test_splits_with_different_categories_are_refused(folder: Path, content: Content, write: Write) -> None:
    train = load(*find_split(folder, "train"))
    require_same_categories(train, train)
    content["categories"][1]["name"] = "wolf"
    write(content)
    assert places(folder) == ["val.json:categories"]
    with pytest.raises(DataError, match=r"val\.json: categories: must be the same in both splits.*dog.*wolf"):
        require_same_categories(load(*find_split(folder, "train")), load(*find_split(folder, "val")))


@pytest.mark.parametrize("size", [(30, 40), (40, 31)])
def test_a_size_unlike_the_file_is_a_problem(
    write: Write, content: Content, images: Path, size: tuple[int, int]
) -> None:
    content["images"][0].update(width=size[0], height=size[1])
    message = rf"images\[0\]: size must be that of the upright image, 40x30, got '{size[0]}x{size[1]}'"
    with pytest.raises(DataError, match=message):
        load(write(content), images)


@pytest.mark.parametrize("name", ["../train/a.png", "/a.png", "link.png", "b.png"])
def test_no_file_outside_the_image_folder_is_opened(
    write: Write, content: Content, images: Path, name: str
) -> None:
    shutil.copy(images / "a.png", images.parent / "outside.png")
    (images / "link.png").symlink_to(images.parent / "outside.png")
    content["images"][0]["file_name"] = name
    with pytest.raises(DataError, match=r"images\[0\]\.file_name: .*" + name):
        load(write(content), images)


def test_a_dataset_without_images_or_boxes_is_refused_for_training_alone(
    write: Write, content: Content, images: Path
) -> None:
    content["annotations"] = []
    with pytest.raises(DataError, match="annotations: must hold one usable box at least"):
        load(write(content), images)
    assert len(load(write(content), images, require_boxes=False).images) == 1
    content["images"] = []
    with pytest.raises(DataError, match="images: must name one image at least"):
        load(write(content), images)
    assert load(write(content), images, require_boxes=False).images == ()


def test_unusable_boxes_are_dropped_on_demand_and_counted(
    write: Write, content: Content, images: Path
) -> None:
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    content["annotations"][1]["bbox"] = [-5, -5, 20, 20]
    dataset = load(write(content), images, drop_bad_boxes=True)
    assert (dataset.dropped, dataset.images[0].boxes.tolist()) == (1, [[0, 0, 15, 15]])
    found = check(write(content), drop_bad_boxes=True)
    assert found.notes == (
        "train.json: boxes that reach outside their image and are clipped: 1",
        "train.json: unusable boxes that are left out: 1",
    )


def test_max_images_takes_the_first_and_looks_at_no_other(
    write: Write, content: Content, images: Path
) -> None:
    content["images"].append({"id": 1, "file_name": "missing.png", "width": 40, "height": 30})
    content["annotations"].append({"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5]})
    dataset = load(write(content), images, max_images=1)
    assert [image.id for image in dataset.images] == [7]
    assert sorted(ground_truth(dataset).imgs) == [7]
    assert len(ground_truth(dataset).anns) == 2


def test_the_fingerprint_follows_annotations_names_and_image_sizes(
    write: Write, content: Content, images: Path
) -> None:
    def fingerprint() -> str:
        return load(write(content), images).fingerprint

    first = fingerprint()
    assert first == fingerprint()
    content["annotations"][0]["area"] = 81
    second = fingerprint()
    Image.new("RGB", (40, 30)).save(images / "a.png")
    assert len({first, second, fingerprint()}) == 3


def test_an_image_that_changed_since_loading_is_refused(write: Write, content: Content, images: Path) -> None:
    (record,) = load(write(content), images).images
    assert read_image(record).shape == (30, 40, 3)
    Image.new("RGB", (30, 40)).save(record.path)
    with pytest.raises(
        DataError, match=r"a\.png: image must be 40x30 as its annotation file says, got 30x40"
    ):
        read_image(record)


def test_damage_inside_an_image_is_found_by_a_check_of_a_small_dataset(
    write: Write, content: Content, images: Path
) -> None:
    data = bytearray((images / "a.png").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    (images / "a.png").write_bytes(bytes(data))
    file = write(content)
    assert places(file) == ["train.json:images[0].file_name"]
    assert check(file, decode=False).notes == (
        "train.json: only the first and the last bytes of the images were read",
    )


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/all.json", "images"),
        ("images/_annotations.coco.json", "images"),
        ("val.json", "val"),
    ],
)
def test_the_images_of_a_lone_annotation_file_are_found_nearby(
    write: Write, content: Content, images: Path, tmp_path: Path, file: str, place: str
) -> None:
    images.rename(tmp_path / place)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    write(content).rename(tmp_path / file)
    assert check(tmp_path / file).ok
    assert not check(tmp_path / file, images=tmp_path / "annotations").ok


def test_the_ground_truth_is_quiet_and_whole(train: CocoDataset, capsys: pytest.CaptureFixture[str]) -> None:
    truth = ground_truth(train)
    assert capsys.readouterr().out == ""
    assert len(truth.anns) == sum(len(image.boxes) for image in train.images)
    assert min(truth.anns) == 1  # pycocotools takes a match with annotation 0 for none
