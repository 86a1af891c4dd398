"""A library of another project reads what we write, and writes what we read: every box to 0.01 px."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.inputs.yolo_file import read_yolo_file
from jdn_core.data.formats.conversion import Conversion, convert
from jdn_core.data.formats.voc import VocReader
from jdn_core.data.formats.yolo import YoloReader
from jdn_core.data.shapes import generate

with warnings.catch_warnings():  # it warns on import where OpenCV is not installed
    warnings.simplefilter("ignore")
    sv = pytest.importorskip("supervision")

Boxes = dict[str, list[tuple[str, list[float]]]]


@pytest.fixture(params=["shapes", "bccd"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A folder of pictures, and a COCO file of them."""
    if request.param == "shapes":
        generate(tmp_path / "shapes", images=10, size=96, seed=0)
        return tmp_path / "shapes" / "train", tmp_path / "shapes" / "annotations" / "train.json"
    data: Path = request.getfixturevalue("jdn_data") / "bccd"
    content = json.loads((data / "annotations" / "val.json").read_text())
    content["images"] = content["images"][:12]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] in ids]
    (tmp_path / "val.json").write_text(json.dumps(content))
    return data / "val", tmp_path / "val.json"


def boxes_of(*files: Path) -> Boxes:
    """Name of the picture -> its boxes with the names of their classes, in one order."""
    found: Boxes = {}
    for file in files:
        content = json.loads(file.read_text())
        names = {row["id"]: row["name"] for row in content["categories"]}
        for image in content["images"]:
            own = [row for row in content["annotations"] if row["image_id"] == image["id"]]
            found[image["file_name"]] = in_order((names[row["category_id"]], row["bbox"]) for row in own)
    return found


def in_order(boxes: Iterable[tuple[str, list[float]]]) -> list[tuple[str, list[float]]]:
    """Sorts by what a hundredth of a pixel does not change."""
    return sorted(boxes, key=lambda each: (each[0], [round(side, 1) for side in each[1]]))


def require_same(found: Boxes, wanted: Boxes) -> None:
    assert found.keys() == wanted.keys()
    for name, boxes in wanted.items():
        assert [category for category, _ in found[name]] == [category for category, _ in boxes]
        got, expected = (np.array([box for _, box in each]).reshape(-1, 4) for each in (found[name], boxes))
        assert np.abs(got - expected).max(initial=0) <= 0.01, name


def written(dst: Path, conversion: Conversion, src: Path) -> Boxes:
    """The boxes of a converted dataset, once every file of its source was accounted for."""
    files = [path for path in src.rglob("*") if path.is_file()]
    assert conversion.used + len(conversion.left_out) == len(files)
    return boxes_of(*(dst / "annotations" / f"{split}.json" for split in ("train", "val")))


def loaded(source: tuple[Path, Path]) -> Any:
    images, annotations = source
    return sv.DetectionDataset.from_coco(str(images), str(annotations))


def test_coco_to_yolo_and_back(source: tuple[Path, Path], tmp_path: Path) -> None:
    root, dst = tmp_path / "yolo", tmp_path / "out"
    loaded(source).as_yolo(
        images_directory_path=str(root / "train" / "images"),
        annotations_directory_path=str(root / "train" / "labels"),
        data_yaml_path=str(root / "data.yaml"),
    )
    said = read_yolo_file(root)
    reader = YoloReader(said.names, said.splits, 0, said.file.relative_to(said.root), said.rule)
    require_same(written(dst, convert(root, dst, reader), root), boxes_of(source[1]))


def test_coco_to_voc_and_back(source: tuple[Path, Path], tmp_path: Path) -> None:
    root, dst = tmp_path / "voc", tmp_path / "out"
    loaded(source).as_pascal_voc(
        images_directory_path=str(root / "JPEGImages"), annotations_directory_path=str(root / "Annotations")
    )
    found = convert(root, dst, VocReader(one_based=True))
    require_same(written(dst, found, root), boxes_of(source[1]))


@pytest.mark.parametrize(
    ("edges", "doubted"),
    [((1, 5, 9, 9), True), ((0, 1, 9, 9), False), ((2, 5, 9, 9), False), ((1.5, 1, 9, 9), False)],
)
def test_pixels_that_seem_counted_from_one_are_said(
    edges: tuple[float, ...], doubted: bool, tmp_path: Path
) -> None:
    root = tmp_path / "voc"
    generate(tmp_path / "shapes", images=10, size=48, seed=0)
    shutil.copytree(tmp_path / "shapes" / "train", root)
    box = "".join(
        f"<{side}>{edge}</{side}>" for side, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
    )
    for file in sorted(root.glob("*.jpg")):
        text = f"<annotation><object><name>a</name><bndbox>{box}</bndbox></object></annotation>"
        file.with_suffix(".xml").write_text(text)
    notes = convert(root, tmp_path / "out", VocReader()).notes
    assert any("--one-based" in note for note in notes) == doubted
    assert not any(
        "--one-based" in note for note in convert(root, tmp_path / "b", VocReader(one_based=True)).notes
    )


def test_what_is_written_here_is_read_there(source: tuple[Path, Path], tmp_path: Path) -> None:
    root, dst = tmp_path / "voc", tmp_path / "out"
    loaded(source).as_pascal_voc(
        images_directory_path=str(root / "JPEGImages"), annotations_directory_path=str(root / "Annotations")
    )
    convert(root, dst, VocReader(one_based=True))
    found: Boxes = {}
    for split in ("train", "val"):
        dataset = loaded((dst / split, dst / "annotations" / f"{split}.json"))
        for path, detections in dataset.annotations.items():
            corners = detections.xyxy.tolist()
            boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]
            names = [dataset.classes[number] for number in detections.class_id]
            found[Path(path).name] = in_order(zip(names, boxes, strict=True))
    require_same(found, boxes_of(source[1]))
