"""Datasets of VOC and YOLO brought to COCO format: exact boxes, every fault named, whole or not there."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jdn_core.data.coco import writing
from jdn_core.data.coco.checking import check
from jdn_core.data.coco.dataset import load
from jdn_core.data.formats import voc
from jdn_core.data.formats.conversion import Conversion
from jdn_core.data.formats.conversion import convert as convert_with
from jdn_core.data.formats.source import Reader
from jdn_core.data.formats.voc import VocReader
from jdn_core.data.formats.yolo import YoloReader, box_of
from jdn_core.data.layouts import Split, find_split
from jdn_core.errors import DataError, InputMissing, StorageError, UsageError
from jdn_core.storage import durable

NAMES = ("cup", "dog")


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).integers(
        0, 256, (size[1], size[0], 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(path)


def thing(name: str, *edges: object, extra: str = "") -> str:
    box = "".join(
        f"<{side}>{edge}</{side}>" for side, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
    )
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


def annotate(root: Path, name: str, *objects: str, filename: str | None = None, size: str = "") -> None:
    """Writes one annotation of VOC, with its picture where that is named by default."""
    if filename is None:
        filename = f"{name}.png"
        picture(root / "JPEGImages" / filename)
    text = f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>"
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    (root / "Annotations" / f"{name}.xml").write_text(text)


def list_split(root: Path, **names: str) -> None:
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in names.items():
        (folder / f"{split}.txt").write_text(text)


def label(root: Path, name: str, text: str | None, ending: str = ".png") -> None:
    """Writes one picture of YOLO with its labels, as ``train/a``."""
    picture(root / "images" / f"{name}{ending}")
    file = root / "labels" / f"{name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        file.write_text(text)


@pytest.fixture
def voc_folder(tmp_path: Path) -> Path:
    root = tmp_path / "voc"
    annotate(root, "a", thing("dog", 1, 2, 11, 10), thing("cup", 5.5, 5, 25.5, 25))
    annotate(root, "b", thing("cup", 0, 0, 40, 30))
    annotate(root, "unlisted", thing("bird", 1, 1, 5, 5))
    list_split(root, train="a\n", val="b\n\n", trainval="a\nb\n")
    return root


@pytest.fixture
def yolo_folder(tmp_path: Path) -> Path:
    root = tmp_path / "yolo"
    label(root, "train/a", "1 0.5 0.5 0.5 0.2\n0 0.25 0.5 0.5 0.5\n")
    label(root, "train/background", None)
    label(root, "val/b", "0 0 0 1 0 1 1\n\n")
    return root


def converted(src: Path, dst: Path, reader: Reader, *, drop_bad_boxes: bool = False) -> Conversion:
    """Converts, and checks that every file of the source is accounted for."""
    found = convert_with(src, dst, reader, drop_bad_boxes=drop_bad_boxes)
    files = {PurePath(path.relative_to(src)) for path in src.rglob("*") if path.is_file()}
    assert found.used + len(found.left_out) == len(files)
    assert found.left_out.keys() <= files
    return found


def convert_voc(src: Path, dst: Path, *, drop_bad_boxes: bool = False, **options: Any) -> Mapping[str, int]:
    return converted(src, dst, VocReader(**options), drop_bad_boxes=drop_bad_boxes).counts


def convert_yolo(
    src: Path,
    dst: Path,
    *,
    names: Sequence[str] = NAMES,
    train: str = "images/train",
    val: str | None = "images/val",
    **options: Any,
) -> Mapping[str, int]:
    splits: dict[Split, tuple[str, ...]] = {"train": (train,)}
    return converted(src, dst, YoloReader(names, splits | ({"val": (val,)} if val else {}), **options)).counts


def convert(src: Path, dst: Path, **options: Any) -> Mapping[str, int]:
    return (convert_voc if src.name == "voc" else convert_yolo)(src, dst, **options)


def rows(dst: Path, split: str) -> Mapping[str, list[dict[str, Any]]]:
    content: Mapping[str, list[dict[str, Any]]] = json.loads(
        (dst / "annotations" / f"{split}.json").read_text()
    )
    return content


def problems(src: Path, dst: Path, **options: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        convert(src, dst, **options)
    assert not dst.exists()
    return [str(problem) for problem in caught.value.problems]


def test_voc_boxes_are_taken_as_written_and_its_own_split_is_kept(voc_folder: Path, tmp_path: Path) -> None:
    counts = convert_voc(voc_folder, tmp_path / "coco")
    assert counts == {"images": 2, "train": 1, "val": 1, "boxes": 3, "categories": 2, "dropped": 0}
    train = rows(tmp_path / "coco", "train")
    assert train["categories"] == [{"id": 1, "name": "cup"}, {"id": 2, "name": "dog"}]
    assert train["images"] == [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}]
    assert [
        (row["category_id"], row["bbox"], row["area"], row["iscrowd"]) for row in train["annotations"]
    ] == [
        (2, [1, 2, 10, 8], 80, 0),
        (1, [5.5, 5, 20, 20], 400, 0),
    ]


def test_yolo_boxes_are_in_pixels_and_classes_count_from_one(yolo_folder: Path, tmp_path: Path) -> None:
    counts = convert_yolo(yolo_folder, tmp_path / "coco", names=NAMES)
    assert counts == {"images": 3, "train": 2, "val": 1, "boxes": 3, "categories": 2, "dropped": 0}
    train, val = (rows(tmp_path / "coco", split) for split in ("train", "val"))
    assert [row["file_name"] for row in train["images"]] == ["a.png", "background.png"]
    assert [(row["image_id"], row["category_id"], row["bbox"]) for row in train["annotations"]] == [
        (1, 2, [10, 12, 20, 6]),
        (1, 1, [0, 7.5, 20, 15]),
    ]
    assert [row["bbox"] for row in val["annotations"]] == [[0, 0, 40, 30]]  # the extent of a triangle


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_what_comes_out_passes_the_check_with_the_same_bytes(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    src: Path = request.getfixturevalue(f"{kind}_folder")
    counts = convert(src, tmp_path / "coco")
    found = check(tmp_path / "coco")
    assert (found.ok, found.images, found.boxes) == (True, counts["images"], counts["boxes"])
    assert found.notes == (f"{tmp_path / 'coco'}: annotations/train.json, annotations/val.json",)
    for split in ("train", "val"):
        for image in load(*find_split(tmp_path / "coco", split)).images:
            [original] = src.rglob(image.path.name)
            assert image.path.read_bytes() == original.read_bytes()


def test_blood_cells_written_as_voc_come_back_box_by_box(jdn_data: Path, tmp_path: Path) -> None:
    content = json.loads((jdn_data / "bccd" / "annotations" / "val.json").read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    root = tmp_path / "voc"
    wanted = {}
    for image in content["images"][:20]:
        own = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        wanted[image["file_name"]] = [(names[row["category_id"]], row["bbox"]) for row in own]
        boxes = [
            (name, x, y, x + width, y + height) for name, (x, y, width, height) in wanted[image["file_name"]]
        ]
        (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
        shutil.copy(jdn_data / "bccd" / "val" / image["file_name"], root / "JPEGImages")
        annotate(
            root, Path(image["file_name"]).stem, *(thing(*box) for box in boxes), filename=image["file_name"]
        )
    assert convert_voc(root, tmp_path / "coco")["val"] == 4
    for split in ("train", "val"):
        made = rows(tmp_path / "coco", split)
        names = {row["id"]: row["name"] for row in made["categories"]}
        for image in made["images"]:
            own = [row for row in made["annotations"] if row["image_id"] == image["id"]]
            assert [(names[row["category_id"]], row["bbox"]) for row in own] == wanted[image["file_name"]]


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_without_a_split_the_seed_draws_a_fifth(kind: str, tmp_path: Path) -> None:
    src = tmp_path / kind
    for number in range(10):
        annotate(src, f"{number}", thing("cup", 1, 1, 9, 9)) if kind == "voc" else label(
            src, f"{number}", "0 .5 .5 .5 .5"
        )
    options = {} if kind == "voc" else {"train": "images", "val": None}
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert convert(src, tmp_path / name, seed=seed, **options)["val"] == 2
        drawn.append({path.name for path in (tmp_path / name / "val").iterdir()})
    assert drawn[0] == drawn[1] != drawn[2]


def test_difficult_boxes_are_boxes_unless_they_shall_be_crowd(voc_folder: Path, tmp_path: Path) -> None:
    hard = "<difficult>1</difficult>"
    annotate(voc_folder, "b", thing("cup", 0, 0, 9, 9, extra=hard), thing("cup", 0, 0, 9, 9))
    for name, as_crowd, flags in (("a", False, [0, 0]), ("b", True, [1, 0])):
        convert_voc(voc_folder, tmp_path / name, difficult_as_crowd=as_crowd)
        assert [row["iscrowd"] for row in rows(tmp_path / name, "val")["annotations"]] == flags


def test_unusable_boxes_are_refused_or_counted_out(voc_folder: Path, tmp_path: Path) -> None:
    annotate(voc_folder, "b", thing("cup", 5, 5, 5, 9), thing("cup", 0, 0, 9, 9))
    assert problems(voc_folder, tmp_path / "coco") == [
        "Annotations/b.xml: object[0].bndbox: width must be > 0, got 0.0; "
        "correct the box or pass --drop-bad-boxes"
    ]
    counts = convert_voc(voc_folder, tmp_path / "coco", drop_bad_boxes=True)
    assert (counts["boxes"], counts["dropped"]) == (3, 1)


def test_all_faults_of_a_voc_dataset_are_named_at_once(voc_folder: Path, tmp_path: Path) -> None:
    picture(tmp_path / "secret.png")
    annotate(voc_folder, "climbs", filename="../../secret.png")
    annotate(voc_folder, "absolute", filename=str(tmp_path / "secret.png"))
    annotate(voc_folder, "gone", filename="gone.png")
    annotate(voc_folder, "turned", size="<size><width>30</width><height>40</height></size>")
    annotate(voc_folder, "odd", thing("", 1, "nan", "x", 9))
    annotate(voc_folder, "again", thing("cup", 1, 1, 9, 9), filename="a.png")
    annotate(voc_folder, "half")
    (voc_folder / "Annotations" / "broken.xml").write_text("<annotation>")
    (voc_folder / "Annotations" / "other.xml").write_text("<svg/>")
    file = voc_folder / "JPEGImages" / "half.png"
    file.write_bytes(file.read_bytes()[:200])
    files = (voc_folder / "Annotations").glob("[!abu]*.xml")
    names = [*(path.stem for path in files), "absolute", "again", "broken", "../voc/Annotations/a"]
    list_split(voc_folder, val="\n".join(names))
    found = problems(voc_folder, tmp_path / "coco")
    for expected in (
        "ImageSets/Main/val.txt: line 10: file_name must be a relative path without '..'",
        "Annotations/climbs.xml: filename: file_name must be a relative path without '..'",
        "Annotations/absolute.xml: filename: file_name must be a relative path without '..'",
        "Annotations/gone.xml: filename: no such file in JPEGImages/",
        "Annotations/turned.xml: size: must be that of the upright picture, 40x30, got 30x40",
        "Annotations/odd.xml: object[0].name: must be a text, got ''",
        "Annotations/odd.xml: object[0].bndbox.ymin: must be a finite number, got 'nan'",
        "Annotations/odd.xml: object[0].bndbox.xmax: must be a finite number, got 'x'",
        "JPEGImages/half.png: cannot be decoded",
        "Annotations/broken.xml: not valid XML",
        "Annotations/other.xml: the top element must be annotation, not svg",
        "a.png: must be annotated once and be in one split, got train, val",
    ):
        assert any(line.startswith(expected) for line in found), expected
    assert len(found) == 12


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "latin-1"])
def test_xml_that_declares_entities_is_refused_before_it_is_read(encoding: str) -> None:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>'
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation>&x;</annotation>'
    )
    with pytest.raises(ValueError, match="must not declare a document type or entities"):
        voc.parse(text.encode(encoding))


def test_a_picture_may_be_named_without_its_ending(voc_folder: Path, tmp_path: Path) -> None:
    annotate(voc_folder, "b", thing("cup", 0, 0, 9, 9), filename="b")
    convert_voc(voc_folder, tmp_path / "coco")
    assert [row["file_name"] for row in rows(tmp_path / "coco", "val")["images"]] == ["b.png"]


def test_half_a_split_is_no_split(voc_folder: Path, tmp_path: Path) -> None:
    (voc_folder / "ImageSets" / "Main" / "val.txt").unlink()
    assert problems(voc_folder, tmp_path / "coco") == [
        "ImageSets/Main: must hold train.txt and val.txt, or trainval.txt and test.txt, or none of them, "
        "got train.txt, trainval.txt alone"
    ]


def test_all_faults_of_a_yolo_dataset_are_named_at_once(yolo_folder: Path, tmp_path: Path) -> None:
    lines = ("0 .5 .5 .5", "0 .5 .5 .5 .5 .9", "2 .5 .5 .1 .1", ".5 .5 .5 .1 .1", "0 20 15 9 9", "0 a b c d")
    label(yolo_folder, "val/b", "\n".join((*lines, "0 nan .5 .1 .1", "0 .5 .5 0 .1")))
    (yolo_folder / "labels" / "train" / "lost.txt").write_text("")
    (yolo_folder / "labels" / "train" / "classes.txt").write_text("cup\ndog\n")
    (tmp_path / "outside.png").write_bytes((yolo_folder / "images" / "val" / "b.png").read_bytes())
    (yolo_folder / "images" / "train" / "link.png").symlink_to(tmp_path / "outside.png")
    found = problems(yolo_folder, tmp_path / "coco")
    rules = (
        "must be a class and 4 numbers, or a class and 3 corners x y at least",
        "must be a class and 4 numbers, or a class and 3 corners x y at least",
        "class must be a whole number in 0..1",
        "class must be a whole number in 0..1",
        "must be shares of the picture's width and height, in 0..1",
        "must be numbers",
        "must be shares of the picture's width and height, in 0..1",
        "width must be > 0",
    )
    for line, number, rule in zip(found[2:], range(1, 9), rules, strict=True):
        assert line.startswith(f"labels/val/b.txt: line {number}: {rule}, got ")
    assert found[0].startswith("labels/train/lost.txt: there is no picture of that name")
    assert found[1] == "images/train/link.png: file_name must not be a link that leaves the image folder"


@pytest.mark.parametrize("train", ["..", "/", "images/../..", "gone", "away"])
def test_folders_outside_a_yolo_dataset_are_refused(train: str, yolo_folder: Path, tmp_path: Path) -> None:
    (yolo_folder / "away").symlink_to(tmp_path)
    with pytest.raises(InputMissing, match=r"must be a folder inside|no such folder of pictures"):
        convert_yolo(yolo_folder, tmp_path / "coco", names=NAMES, train=train)


def test_train_and_val_must_not_share_pictures(yolo_folder: Path, tmp_path: Path) -> None:
    found = problems(yolo_folder, tmp_path / "coco", val="images/train")
    assert found[0] == "a.png: must be annotated once and be in one split, got train, val"


def test_names_of_classes_must_differ(yolo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names: 1: must be a text that no other class has, got 'cup'"):
        convert_yolo(yolo_folder, tmp_path / "coco", names=["cup", "cup"])


def test_labels_lie_where_ultralytics_looks_for_them(tmp_path: Path) -> None:
    root = tmp_path / "yolo"
    for split in ("train", "valid"):
        picture(root / split / "images" / "sub" / f"{split}.jpg")
        (root / split / "labels" / "sub").mkdir(parents=True)
        (root / split / "labels" / "sub" / f"{split}.txt").write_text("0 .5 .5 .5 .5")
    counts = convert_yolo(root, tmp_path / "coco", names=NAMES, train="train/images", val="valid/images")
    assert counts["boxes"] == 2
    assert (tmp_path / "coco" / "val" / "sub" / "valid.jpg").is_file()


def test_labels_may_lie_among_the_pictures(tmp_path: Path) -> None:
    root = tmp_path / "yolo"
    for name in ("train/a", "val/b"):
        picture(root / f"{name}.png")
        (root / f"{name}.txt").write_text("0 .5 .5 .5 .5")
    assert convert_yolo(root, tmp_path / "coco", names=NAMES, train="train", val="val")["boxes"] == 2


def test_damaged_pictures_and_a_missing_folder_of_labels_are_named(yolo_folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(yolo_folder / "labels" / "val")
    (yolo_folder / "images" / "train" / "a.png").write_text("no picture")
    assert problems(yolo_folder, tmp_path / "coco") == [
        "images/train/a.png: is not an image of a known format; replace the file",
        "labels/val: no such folder of labels",
    ]


@given(
    edges=st.tuples(*[st.integers(0, 10**6)] * 4).filter(lambda e: e[0] < e[2] and e[1] < e[3]),
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_a_yolo_box_is_within_half_a_step_of_its_grid(
    edges: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    x1, y1, x2, y2 = (edge / 10**6 for edge in edges)
    box = box_of([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], size)
    corners = box_of([x1, y1, x2, y1, x2, y2], size)
    wanted = np.array([x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]])
    for x, y, width, height in (box, corners):
        assert np.abs(np.array([x, y, x + width, y + height]) - wanted).max() <= 0.5 / 1024 + 1e-9
        assert x + width <= size[0]
        assert y + height <= size[1]


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_a_folder_that_is_not_there_is_said_so(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=f"{kind}: no such folder"):
        convert(tmp_path / kind, tmp_path / "coco")
    (tmp_path / kind).mkdir()
    with pytest.raises(InputMissing, match=r"no folder Annotations there|no such folder of pictures"):
        convert(tmp_path / kind, tmp_path / "coco")


def test_a_dataset_without_any_box_fails_the_check_and_leaves_nothing(
    voc_folder: Path, tmp_path: Path
) -> None:
    annotate(voc_folder, "b")
    assert problems(voc_folder, tmp_path / "coco") == [
        "val.json: annotations: must hold one usable box at least, got '0 annotations'"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["voc"]


def test_a_folder_that_holds_something_is_left_alone(voc_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    convert_voc(voc_folder, tmp_path / "mine")
    with pytest.raises(UsageError, match="must be a new or empty folder"):
        convert_voc(voc_folder, tmp_path / "mine")
    assert check(tmp_path / "mine").ok


def test_a_full_disk_leaves_nothing(
    voc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> durable.Written:
        if path.name == "b.png":
            raise StorageError(f"{path}: No space left on device")
        return durable.write_bytes(path, data)

    monkeypatch.setattr(writing, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        convert_voc(voc_folder, tmp_path / "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["voc"]


def stale_tags(root: Path, *, pictures: bool = True) -> None:
    """Annotations whose tag names the picture of the next one."""
    names = ("a", "b", "c")
    for number, name in enumerate(names):
        if pictures:
            picture(root / "JPEGImages" / f"{name}.png")
        annotate(root, name, thing("cup", 1, 1, 9, 9 + number), filename=f"{names[(number + 1) % 3]}.png")


def boxes_by_picture(dst: Path) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for split in ("train", "val", "test"):
        if not (dst / "annotations" / f"{split}.json").exists():
            continue
        made = rows(dst, split)
        for image in made["images"]:
            own = [row["bbox"] for row in made["annotations"] if row["image_id"] == image["id"]]
            found[f"{split}/{image['file_name']}"] = own
    return found


def test_an_annotation_belongs_to_the_picture_of_its_own_name(tmp_path: Path) -> None:
    stale_tags(tmp_path / "voc")
    found = converted(tmp_path / "voc", tmp_path / "coco", VocReader())
    heights = {Path(name).name: boxes[0][3] for name, boxes in boxes_by_picture(tmp_path / "coco").items()}
    assert heights == {"a.png": 8, "b.png": 9, "c.png": 10}
    assert found.notes[0].startswith("3 annotations say another filename than their own name, which counts")


def test_a_picture_of_no_annotations_name_is_found_by_its_tag(tmp_path: Path) -> None:
    root = tmp_path / "voc"
    picture(root / "JPEGImages" / "photo.png")
    annotate(root, "label-1", thing("cup", 1, 1, 9, 9), filename="photo.png")
    annotate(root, "b", thing("cup", 1, 1, 9, 9))
    assert convert_voc(root, tmp_path / "coco")["images"] == 2


def test_one_name_with_two_endings_is_settled_by_the_tag_or_refused(tmp_path: Path) -> None:
    root = tmp_path / "voc"
    annotate(root, "b", thing("cup", 1, 1, 9, 9))
    for ending in ("png", "bmp"):
        picture(root / "JPEGImages" / f"a.{ending}")
    annotate(root, "a", thing("cup", 1, 1, 9, 9), filename="other.png")
    assert problems(root, tmp_path / "coco") == [
        "Annotations/a.xml: filename: several pictures have this name: a.bmp, a.png, got 'other.png'"
    ]
    annotate(root, "a", thing("cup", 1, 1, 9, 9), filename="a.bmp")
    convert_voc(root, tmp_path / "coco")
    assert {name.rpartition("/")[2] for name in boxes_by_picture(tmp_path / "coco")} == {"a.bmp", "b.png"}


@pytest.mark.parametrize("place", ["s/a.xml", "a.XML", "s/t/a.Xml"])
@pytest.mark.parametrize("photo", ["a.png", "s/a.PNG", "other/a.jpeg"])
def test_annotations_and_pictures_may_lie_in_sub_folders(place: str, photo: str, tmp_path: Path) -> None:
    root = tmp_path / "voc"
    annotate(root, "b", thing("cup", 1, 1, 9, 9))
    annotate(root, "a", thing("dog", 2, 2, 9, 9), filename="")
    picture(root / "JPEGImages" / photo)
    (root / "Annotations" / place).parent.mkdir(parents=True, exist_ok=True)
    (root / "Annotations" / "a.xml").rename(root / "Annotations" / place)
    found = converted(root, tmp_path / "coco", VocReader())
    assert (found.counts["images"], found.counts["boxes"], found.left_out) == (2, 2, {})


@pytest.mark.parametrize(
    ("lists", "wanted"),
    [
        ({"trainval": "a\nb", "test": "c"}, {"train/a.png", "train/b.png", "val/c.png"}),
        (
            {"train": "a", "val": "b", "trainval": "a\nb", "test": "c"},
            {"train/a.png", "val/b.png", "test/c.png"},
        ),
        ({"train": "a.png\n", "val": "b.png\nc.png"}, {"train/a.png", "val/b.png", "val/c.png"}),
        ({"train": "a", "val": "b"}, {"train/a.png", "val/b.png"}),
    ],
)
def test_the_lists_of_voc_are_its_split(lists: dict[str, str], wanted: set[str], tmp_path: Path) -> None:
    root = tmp_path / "voc"
    for name in "abc":
        annotate(root, name, thing("cup", 1, 1, 9, 9))
    list_split(root, **lists, cup_train="a 1\n")
    found = converted(root, tmp_path / "coco", VocReader())
    assert boxes_by_picture(tmp_path / "coco").keys() == wanted
    assert found.rule.endswith("of ImageSets/Main")
    assert (PurePath("Annotations/c.xml") in found.left_out) == (len(wanted) == 2)


@pytest.mark.parametrize("there", ["train", "val", "test", "trainval", "train test"])
def test_lists_that_are_no_split_are_named_with_those_that_are_wanted(there: str, tmp_path: Path) -> None:
    root = tmp_path / "voc"
    annotate(root, "a", thing("cup", 1, 1, 9, 9))
    list_split(root, **dict.fromkeys(there.split(), "a"))
    got = ", ".join(f"{name}.txt" for name in sorted(there.split()))
    assert problems(root, tmp_path / "coco")[0].endswith(f"or none of them, got {got} alone")


@pytest.mark.parametrize(("train", "val"), [("train", "valid"), ("Train", "val"), ("training", "validation")])
def test_xml_beside_the_pictures_is_split_by_its_folders(train: str, val: str, tmp_path: Path) -> None:
    root = tmp_path / "voc"
    for name in (f"{train}/a", f"{train}/s/b", f"{val}/a", "test/c", "d"):
        annotate(root / "x", "x", thing("cup", 1, 1, 9, 9), filename="")
        picture(root / f"{name}.png")
        (root / "x" / "Annotations" / "x.xml").rename(root / f"{name}.xml")
    shutil.rmtree(root / "x")
    (root / "aux.xml").write_text("<PAMDataset/>")
    (root / "._a.xml").write_text("a")
    found = converted(root, tmp_path / "coco", VocReader())
    assert boxes_by_picture(tmp_path / "coco").keys() == {
        "train/a.png",
        "train/s/b.png",
        "val/a.png",
        "test/c.png",
    }
    assert found.left_out == {
        PurePath("._a.xml"): "hidden files",
        PurePath("aux.xml"): "annotations outside the splits' folders",
        PurePath("d.png"): "pictures without an annotation",
        PurePath("d.xml"): "annotations outside the splits' folders",
    }


def test_xml_of_another_kind_beside_the_pictures_is_named(tmp_path: Path) -> None:
    root = tmp_path / "voc"
    annotate(root / "x", "x", thing("cup", 1, 1, 9, 9), filename="")
    for name in "ab":
        picture(root / f"{name}.png")
        shutil.copy(root / "x" / "Annotations" / "x.xml", root / f"{name}.xml")
    shutil.rmtree(root / "x")
    (root / "a.png.aux.xml").write_text("<PAMDataset/>")
    found = converted(root, tmp_path / "coco", VocReader())
    assert found.left_out == {PurePath("a.png.aux.xml"): "XML files that are no annotations"}
    assert found.rule.endswith("val is a fifth of train, drawn by seed 0")


def test_pictures_of_yolo_may_be_listed_or_lie_in_several_folders(tmp_path: Path) -> None:
    root = tmp_path / "yolo"
    for name in ("one/a", "two/a", "val/b", "test/c"):
        label(root, name, "0 .5 .5 .5 .5")
    (root / "val.txt").write_text(f"./images/val/b.png\n\n{root / 'images/val/b.png'}\n")
    splits: dict[Split, tuple[str, ...]] = {
        "train": ("images/one", "images/two"),
        "val": ("val.txt",),
        "test": ("images/test",),
    }
    found = converted(root, tmp_path / "coco", YoloReader(NAMES, splits))
    assert boxes_by_picture(tmp_path / "coco").keys() == {
        "train/images/one/a.png",
        "train/images/two/a.png",
        "val/images/val/b.png",
        "test/c.png",
    }
    assert found.left_out == {}


def test_a_file_system_s_own_files_among_the_pictures_are_counted(yolo_folder: Path, tmp_path: Path) -> None:
    for name in ("images/train/._a.png", "labels/train/._a.txt", "images/.DS_Store", "images/val/Thumbs.db"):
        (yolo_folder / name).write_text("x")
    splits: dict[Split, tuple[str, ...]] = {"train": ("images/train",), "val": ("images/val",)}
    found = converted(yolo_folder, tmp_path / "coco", YoloReader(NAMES, splits))
    assert list(found.left_out.values()) == ["hidden files"] * 4
