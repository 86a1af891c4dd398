"""COCO-format datasets: found, checked against every rule at once, and loaded as plain values.

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
from typing import Literal, get_args

import numpy as np
from pycocotools.coco import COCO

from jdn_core.data import pictures, strict_json
from jdn_core.data.document import Box, Category, Document, Entry, examine
from jdn_core.errors import DataError, InputMissing, Problem

__all__ = [
    "Category",
    "CheckResult",
    "CocoDataset",
    "ImageRecord",
    "check",
    "find_split",
    "ground_truth",
    "load",
    "read_image",
    "require_same_categories",
]

Split = Literal["train", "val"]

# (annotation file, image folder) of a split: ours, and COCO's own.
_LAYOUTS = (("annotations/{}.json", "{}"), ("annotations/instances_{}2017.json", "{}2017"))


# Decoding takes a second for so many photos, and ten for COCO's validation split.
_FEW_IMAGES = 2000


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
    """

    images: tuple[ImageRecord, ...]
    categories: tuple[Category, ...]
    annotation_file: Path
    fingerprint: str
    dropped: int = 0


@dataclass(frozen=True)
class CheckResult:
    """What ``check`` found: every problem, and how much there is of everything in all files together.

    ``boxes`` counts all annotations, the crowd and unusable ones too; ``notes`` are facts worth knowing that
    break no rule, such as boxes that are clipped.
    """

    ok: bool
    problems: tuple[Problem, ...]
    images: int
    boxes: int
    categories: int
    notes: tuple[str, ...] = ()


def find_split(root: Path, split: Split) -> tuple[Path, Path]:
    """(annotation file, image folder) of a split, in our layout or in COCO's own.

    Raises:
        InputMissing: the folder or a split's file is not there, naming what was looked for.
    """
    for file_layout, folder_layout in _LAYOUTS:
        file, folder = root / file_layout.format(split), root / folder_layout.format(split)
        if file.is_file():
            if not folder.is_dir():
                raise InputMissing(f"{folder}: no such folder, but {file.name} describes its images")
            return file, folder
    wanted = " nor ".join(layout.format(split) for layout, _ in _LAYOUTS)
    raise InputMissing(f"{root}: no {split} split there: neither {wanted}")


def load(
    annotation_file: Path,
    image_root: Path,
    *,
    drop_bad_boxes: bool = False,
    max_images: int | None = None,
    require_boxes: bool = True,
) -> CocoDataset:
    """Reads and checks a dataset; image files are measured and looked at for truncation, not decoded.

    Args:
        annotation_file: COCO instances JSON.
        image_root: folder that its file names start from.
        drop_bad_boxes: leave unusable boxes out instead of refusing the dataset.
        max_images: take only the first images of the file; the others' files are not looked at.
        require_boxes: refuse a dataset without any box to learn from; an evaluation passes False.

    Raises:
        InputMissing: there is no such annotation file.
        DataError: the dataset breaks rules; all of them are named, 50 at the most printed.
    """
    document, content = _read(annotation_file, drop_bad_boxes)
    document.entries = document.entries[:max_images]
    paths = _find_files(document, image_root, decode=False)
    if require_boxes:
        _require_boxes(document)
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
    )


def check(
    path: Path, *, images: Path | None = None, drop_bad_boxes: bool = False, decode: bool | None = None
) -> CheckResult:
    """Every problem of a dataset folder (both splits) or of one annotation file.

    Args:
        path: the folder or the file.
        images: image folder of a single annotation file; by default the sibling that is named like it, or
            ``images``.
        drop_bad_boxes: count unusable boxes as a note, not as problems.
        decode: read every image to its end, which also finds broken data inside; by default in splits of up
            to 2000 images

    Raises:
        InputMissing: neither a folder nor a file is there.
    """
    if path.is_dir():
        return _check_folder(path, drop_bad_boxes=drop_bad_boxes, decode=decode)
    root = images if images is not None else _image_folder(path)
    return _result([_check_file(path, root, drop_bad_boxes=drop_bad_boxes, decode=decode)])


def read_image(record: ImageRecord) -> np.ndarray:
    """The upright RGB pixels of an image, uint8 [H, W, 3].

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
    """Labels are ranks, so two splits mean the same by them only if their categories are the same.

    Raises:
        DataError: they differ.
    """
    if train.categories != val.categories:
        raise DataError.of([_other_categories(val.annotation_file.name, train, val)])


def ground_truth(dataset: CocoDataset) -> COCO:
    """The index of pycocotools over the raw annotations of the dataset's images, crowd included.

    Raises:
        DataError: the annotation file changed and breaks rules now.
    """
    document, _ = _read(dataset.annotation_file, drop_bad_boxes=True)
    ids = {image.id for image in dataset.images}
    index = COCO()
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


def _read(annotation_file: Path, drop_bad_boxes: bool) -> tuple[Document, bytes]:
    content = strict_json.read_bytes(annotation_file)
    data = strict_json.parse(content, annotation_file.name)
    return examine(data, annotation_file.name, drop_bad_boxes=drop_bad_boxes), content


def _find_files(document: Document, root: Path, *, decode: bool) -> dict[int, Path]:
    """Image id -> file, of the images whose file is inside the folder; notes what is wrong with the files."""
    found: list[tuple[Entry, Path]] = []
    for entry in document.entries:
        try:
            found.append((entry, pictures.locate(root, entry.file_name)))
        except ValueError as error:
            document.add(f"{entry.where}.file_name", str(error), entry.file_name)
    sizes = pictures.measure([path for _, path in found], decode=decode)
    for (entry, _), size in zip(found, sizes, strict=True):
        if isinstance(size, DataError):
            problem = size.problems[0]
            document.add(f"{entry.where}.file_name", problem.what, entry.file_name, problem.remedy)
        elif size != (entry.width, entry.height):
            what = f"size must be that of the upright image, {size[0]}x{size[1]}"
            document.add(entry.where, what, f"{entry.width}x{entry.height}", "correct width and height")
    return {entry.id: path for entry, path in found}


def _require_boxes(document: Document) -> None:
    """Without other problems, a dataset must have an image and a box to learn from."""
    if document.problems:
        return
    if not document.entries:
        document.add("images", "must name one image at least", [])
    elif not any(entry.id in document.boxes for entry in document.entries):
        document.add(
            "annotations", "must hold one usable box at least", f"{document.annotations} annotations"
        )


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


def _check_folder(root: Path, *, drop_bad_boxes: bool, decode: bool | None) -> CheckResult:
    documents: list[Document] = []
    for split in get_args(Split):
        try:
            file, folder = find_split(root, split)
            documents.append(_check_file(file, folder, drop_bad_boxes=drop_bad_boxes, decode=decode))
        except InputMissing as error:
            documents.append(Document(root.name, problems=[Problem(root.name, split, str(error))]))
    train, val = documents
    if not (train.problems or val.problems) and train.categories != val.categories:
        val.problems.append(_other_categories(val.name, train, val))
    return _result(documents)


def _other_categories(file: str, train: Document | CocoDataset, val: Document | CocoDataset) -> Problem:
    differing = sorted((one.id, one.name) for one in {*train.categories} ^ {*val.categories})
    return Problem(file, "categories", "must be the same in both splits", f"differing {differing[:4]}")


def _check_file(file: Path, root: Path, *, drop_bad_boxes: bool, decode: bool | None) -> Document:
    try:
        document, _ = _read(file, drop_bad_boxes)
    except DataError as error:
        return Document(file.name, problems=list(error.problems))
    if decode is None:
        decode = len(document.entries) <= _FEW_IMAGES
    _find_files(document, root, decode=decode)
    _require_boxes(document)
    if document.clipped:
        document.notes.append(f"boxes that reach outside their image and are clipped: {document.clipped}")
    if document.dropped:
        document.notes.append(f"unusable boxes that are left out: {document.dropped}")
    if not decode:
        document.notes.append("only the first and the last bytes of the images were read")
    return document


def _result(documents: Sequence[Document]) -> CheckResult:
    problems = tuple(problem for document in documents for problem in document.problems)
    return CheckResult(
        ok=not problems,
        problems=problems,
        images=sum(len(document.entries) for document in documents),
        boxes=sum(document.annotations for document in documents),
        categories=len({category.id for document in documents for category in document.categories}),
        notes=tuple(f"{document.name}: {note}" for document in documents for note in document.notes),
    )


def _image_folder(annotation_file: Path) -> Path:
    """The folder that most likely holds the images of a lone annotation file."""
    base = annotation_file.parent
    name = annotation_file.stem.removeprefix("instances_")
    candidates = (
        base.parent / name,
        base / name,
        base.parent / "images" / name,
        base.parent / "images",
        base / "images",
    )
    return next((folder for folder in candidates if folder.is_dir()), base)
