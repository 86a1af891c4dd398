"""Datasets of PASCAL VOC and of YOLO to COCO format: ``annotations/{train,val}.json``, ``train/``, ``val/``.

Pictures are copied byte for byte. The folder appears whole, after it passed the check of any dataset, or not
at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jdn_core.data.coco.checking import check
from jdn_core.data.formats import voc, yolo
from jdn_core.data.formats.source import Findings, Picture, Splits
from jdn_core.data.layouts import Split
from jdn_core.errors import DataError, InputMissing, UsageError
from jdn_core.processes.progress import report
from jdn_core.storage.durable import commit_folder, stage_folder, write_bytes, write_json


def convert_voc(
    src: Path, dst: Path, *, seed: int = 0, drop_bad_boxes: bool = False, difficult_as_crowd: bool = False
) -> dict[str, int]:
    """Makes a COCO folder of a VOC dataset; its categories are the names that occur, by alphabet.

    Args:
        src: the folder that holds ``Annotations``, ``JPEGImages`` and, where it is split,
            ``ImageSets/Main/{train,val}.txt``; pictures in neither list are left out.
        dst: the folder to make; an empty one may be there.
        seed: draws a fifth for val where the dataset is not split.
        drop_bad_boxes: leave unusable boxes out, counted, instead of refusing the dataset.
        difficult_as_crowd: see ``voc.read``.

    Returns:
        Counts of ``images``, ``train``, ``val``, ``boxes``, ``categories``, and of boxes ``dropped``.

    Raises:
        InputMissing: the dataset is not there.
        DataError: the dataset breaks rules; all of them are named.
        UsageError: ``dst`` holds something.
        StorageError: the disk is full or broken.
    """
    _require_places(src, dst)
    findings = Findings(drop_bad_boxes)
    splits = voc.read(src, findings, seed=seed, difficult_as_crowd=difficult_as_crowd)
    names = {label.category for found in splits.values() for picture in found for label in picture.labels}
    return _convert(dst, splits, sorted(names), findings)


def convert_yolo(
    src: Path,
    dst: Path,
    *,
    names: Sequence[str],
    train: str = "images/train",
    val: str | None = "images/val",
    seed: int = 0,
    drop_bad_boxes: bool = False,
) -> dict[str, int]:
    """Makes a COCO folder of a YOLO dataset; class 0 becomes the category with id 1.

    Args:
        src: the dataset's folder.
        dst: the folder to make; an empty one may be there.
        names: of the classes 0, 1, 2, ...
        train: folder of the training pictures below ``src``.
        val: folder of the validation pictures below ``src``; None lets the seed draw a fifth of train.
        seed: for that.
        drop_bad_boxes: leave unusable boxes out, counted, instead of refusing the dataset.

    Returns:
        Counts as of ``convert_voc``.

    Raises:
        InputMissing: the dataset or one of its folders is not there.
        DataError: the dataset breaks rules; all of them are named.
        UsageError: ``dst`` holds something.
        StorageError: the disk is full or broken.
    """
    _require_places(src, dst)
    findings = Findings(drop_bad_boxes)
    splits = yolo.read(src, findings, names=names, train=train, val=val, seed=seed)
    return _convert(dst, splits, names, findings)


def _require_places(src: Path, dst: Path) -> None:
    if not src.is_dir():
        raise InputMissing(f"{src}: no such folder")
    if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
        raise _taken(dst)


def _taken(dst: Path) -> UsageError:
    return UsageError(f"{dst}: must be a new or empty folder, something is there; name another or remove it")


def _convert(dst: Path, splits: Splits, names: Sequence[str], findings: Findings) -> dict[str, int]:
    _require_apart(splits, findings)
    if findings.problems:
        raise DataError.of(findings.problems)
    dst = dst.absolute()  # the folder that "." names has a name too
    staged = stage_folder(dst)
    try:
        for split, found in splits.items():
            _write_split(staged, split, found, names)
        # The pictures were read to their end on the way in.
        result = check(staged, decode=False)
        if not result.ok:
            raise DataError.of(result.problems)
        if not commit_folder(staged, dst):
            raise _taken(dst)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    counts = {"images": result.images} | {split: len(found) for split, found in splits.items()}
    return counts | {"boxes": result.boxes, "categories": result.categories, "dropped": findings.dropped}


def _require_apart(splits: Splits, findings: Findings) -> None:
    """No picture may be there twice: in both splits, its boxes would be learnt by heart and then scored."""
    places: dict[Path, list[Split]] = {}
    for split, found in splits.items():
        for picture in found:
            places.setdefault(picture.path.resolve(), []).append(split)
    for path, there in places.items():
        if len(there) > 1:
            findings.add((path.name, ""), "must be annotated once and be in one split", ", ".join(there))


def _write_split(folder: Path, split: Split, found: Sequence[Picture], names: Sequence[str]) -> None:
    """Copies one split's pictures and writes its annotation file."""
    (folder / split).mkdir()
    (folder / "annotations").mkdir(exist_ok=True)
    ids = {name: number for number, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(found, start=1):
        target = folder / split / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, picture.path.read_bytes())
        width, height = picture.size
        images.append({"id": number, "file_name": picture.name, "width": width, "height": height})
        for label in picture.labels:
            row = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[label.category]}
            area = label.bbox[2] * label.bbox[3]
            annotations.append(row | {"bbox": label.bbox, "area": area, "iscrowd": int(label.crowd)})
        report(f"copy {split}", number, len(found))
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder / "annotations" / f"{split}.json", content, indent=None)
