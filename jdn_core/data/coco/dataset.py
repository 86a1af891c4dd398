"""COCO-format datasets, loaded as plain values under every rule of ``checking``.

The reader is our own, because pycocotools joins any path it is given and keeps silent about broken input; its
index is used for the evaluation alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from jdn_core.data import pictures
from jdn_core.data.coco.checking import (
    find_files,
    other_categories,
    read_document,
    require_targets,
)
from jdn_core.data.coco.document import Box, Category, Entry
from jdn_core.data.layouts import Split, drawn_for_val
from jdn_core.errors import DataError, Problem


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One image with its training targets.

    Attributes:
        id: the dataset's id.
        path: a regular file inside the image folder.
        width: in pixels, of the upright image.
        height: in pixels, of the upright image.
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels, clipped to the image, without crowd; N may be 0.
        labels: int64 [N], 1..K: the rank of the category's id plus one.
    """

    id: int
    path: Path
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class CocoDataset:
    """A checked dataset; nothing but pixels is left to be read.

    Attributes:
        images: in the order of the annotation file.
        categories: by rising id.
        annotation_file: where it was read from.
        fingerprint: SHA-256 of the annotation file's bytes and of the names and sizes in bytes of its images.
        dropped: unusable boxes that were left out on demand.
        doubts: what was made of the boxes, and what is odd about them, a line each.
    """

    images: tuple[ImageRecord, ...]
    categories: tuple[Category, ...]
    annotation_file: Path
    fingerprint: str
    dropped: int = 0
    doubts: tuple[str, ...] = ()


def load(
    annotation_file: Path,
    image_root: Path,
    part: Split | None = None,
    *,
    drop_bad_boxes: bool = False,
    max_images: int | None = None,
    require_boxes: bool = True,
) -> CocoDataset:
    """Reads and checks a dataset; image files are measured and looked at for truncation, not decoded.

    Args:
        annotation_file: COCO instances JSON.
        image_root: folder that its file names start from.
        part: train or val for that half of the file's images, see ``drawn_for_val``; none for all.
        drop_bad_boxes: leave unusable boxes out instead of refusing the dataset.
        max_images: take only the first images of the file; the others' files are not looked at.
        require_boxes: refuse a dataset without any box to learn from; an evaluation passes False.

    Raises:
        InputMissing: there is no such annotation file.
        DataError: the dataset breaks rules; all of them are named, 50 at the most printed.
    """
    document, content = read_document(annotation_file, drop_bad_boxes=drop_bad_boxes)
    if part is not None:
        if part == "val" and len(document.entries) == 1:
            remedy = "name validation images of their own"
            document.add("images", "must be two at least, of which one is drawn for validation", 1, remedy)
        drawn = drawn_for_val(entry.file_name for entry in document.entries)
        document.entries = [each for each in document.entries if (each.file_name in drawn) == (part == "val")]
    document.entries = document.entries[:max_images]
    paths = find_files(document, image_root, decode=False)
    if require_boxes:
        require_targets(document)
    if document.problems:
        raise DataError.of(document.problems)
    ranks = {category.id: rank for rank, category in enumerate(document.categories, start=1)}
    return CocoDataset(
        images=tuple(
            _record(entry, paths[entry.id], document.boxes.get(entry.id, []), ranks)
            for entry in document.entries
        ),
        categories=document.categories,
        annotation_file=annotation_file,
        fingerprint=_fingerprint(content, [(entry.file_name, paths[entry.id]) for entry in document.entries]),
        dropped=document.dropped,
        doubts=tuple(document.doubts()),
    )


def read_image(record: ImageRecord) -> np.ndarray:
    """Returns the upright RGB pixels of an image, uint8 [H, W, 3].

    Raises:
        DataError: the file cannot be decoded whole, or changed its size since the dataset was loaded.
    """
    pixels = pictures.read_pixels(record.path)
    height, width = pixels.shape[:2]
    if (width, height) != (record.width, record.height):
        what = f"image must be {record.width}x{record.height} as its annotation file says"
        raise DataError.of([Problem(record.path.name, "", what, f"{width}x{height}")])
    return pixels


def require_same_categories(train: CocoDataset, val: CocoDataset) -> None:
    """Checks that both splits have the same categories, because a label is the rank of a category's id.

    Raises:
        DataError: they differ.
    """
    if train.categories != val.categories:
        raise DataError.of([other_categories(val.annotation_file.name, train.categories, val.categories)])


def ground_truth(dataset: CocoDataset) -> COCO:
    """Returns the index of pycocotools over the raw annotations of the dataset's images, crowd included.

    Raises:
        DataError: the annotation file changed and is no JSON now.
    """
    document, _ = read_document(dataset.annotation_file, drop_bad_boxes=True)
    ids = {image.id for image in dataset.images}
    index = COCO()  # without a file, which it would read by its own rules
    index.dataset = {
        "images": [
            {"id": image.id, "width": image.width, "height": image.height} for image in dataset.images
        ],
        "annotations": [annotation for annotation in document.raw if annotation["image_id"] in ids],
        "categories": [{"id": category.id, "name": category.name} for category in dataset.categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # standard output belongs to the command line
        index.createIndex()
    return index


def _record(
    entry: Entry, path: Path, targets: Sequence[tuple[Box, int]], ranks: dict[int, int]
) -> ImageRecord:
    boxes = np.array([box for box, _ in targets], dtype=np.float32).reshape(-1, 4)
    labels = np.array([ranks[category] for _, category in targets], dtype=np.int64)
    return ImageRecord(entry.id, path, entry.width, entry.height, boxes, labels)


def _fingerprint(content: bytes, files: Sequence[tuple[str, Path]]) -> str:
    digest = hashlib.sha256(content)
    for name, path in files:
        digest.update(f"\n{name}\t{path.stat().st_size}".encode())
    return digest.hexdigest()
