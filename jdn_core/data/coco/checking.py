"""Whether a dataset keeps the rules: its annotation files, its image files, and both splits together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jdn_core.data import pictures
from jdn_core.data.coco import strict_json
from jdn_core.data.coco.document import Category, Document, Entry, examine
from jdn_core.data.layouts import SPLITS, Place, Split, images_of, recognise
from jdn_core.data.twins import shared_note
from jdn_core.errors import DataError, InputMissing, Problem

# Decoding takes a second for so many photos, and ten for COCO's validation split.
_FEW_IMAGES = 2000


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


def check(
    path: Path, *, images: Path | None = None, drop_bad_boxes: bool = False, decode: bool | None = None
) -> CheckResult:
    """Finds every problem of a dataset folder (both splits) or of one annotation file.

    Args:
        path: the folder or the file.
        images: image folder of a single annotation file; by default the sibling that is named like it, or
            ``images``.
        drop_bad_boxes: count unusable boxes as a note, not as problems.
        decode: read every image to its end, which also finds broken data inside; by default in splits of up
            to 2000 images.

    Raises:
        InputMissing: neither a folder nor a file is there, or not the folder of the images.
    """
    if images is not None and not os.path.isdir(images):
        raise InputMissing(f"{images}: no such folder of images")
    if os.path.isdir(path):  # pathlib does not forgive names that are too long
        return _check_folder(path, drop_bad_boxes=drop_bad_boxes, decode=decode)
    place = Place(path, images if images is not None else images_of(path))
    return _result([_check_file(place, drop_bad_boxes=drop_bad_boxes, decode=decode)[1]])


def read_document(annotation_file: Path, *, drop_bad_boxes: bool) -> tuple[Document, bytes]:
    """Returns an annotation file with its problems, and its bytes.

    Raises:
        InputMissing: there is no such file.
        DataError: it is not JSON.
    """
    content = strict_json.read_bytes(annotation_file)
    data = strict_json.parse(content, annotation_file.name)
    return examine(data, annotation_file.name, drop_bad_boxes=drop_bad_boxes), content


def find_files(document: Document, root: Path, *, decode: bool) -> dict[int, Path]:
    """Returns image id -> file for files inside the folder; notes what is wrong with the others."""
    found: list[tuple[Entry, Path]] = []
    for entry in document.entries:
        try:
            found.append((entry, pictures.locate(root, entry.file_name)))
        except ValueError as error:
            remedy = "write folders with /" if "\\" in entry.file_name else ""
            document.add(f"{entry.where}.file_name", str(error), entry.file_name, remedy)
    sizes = pictures.measure([path for _, path in found], decode=decode)
    for (entry, _), size in zip(found, sizes, strict=True):
        if isinstance(size, DataError):
            problem = size.problems[0]
            document.add(f"{entry.where}.file_name", problem.what, entry.file_name, problem.remedy)
        elif size != (entry.width, entry.height):
            what = f"size must be that of the upright image, {size[0]}x{size[1]}"
            document.add(entry.where, what, f"{entry.width}x{entry.height}", "correct width and height")
    return {entry.id: path for entry, path in found}


def require_targets(document: Document) -> None:
    """Notes a dataset without an image or a box to learn from, unless it has other problems."""
    if document.problems:
        return
    if not document.entries:
        document.add("images", "must name one image at least", [])
    elif not any(entry.id in document.boxes for entry in document.entries):
        document.add(
            "annotations", "must hold one usable box at least", f"{document.annotations} annotations"
        )


def other_categories(file: str, train: Sequence[Category], val: Sequence[Category]) -> Problem:
    """Returns the problem of two splits whose categories differ, naming the first few that do."""
    differing = sorted((one.id, one.name) for one in {*train} ^ {*val})
    return Problem(file, "categories", "must be the same in both splits", f"differing {differing[:4]}")


def _check_folder(root: Path, *, drop_bad_boxes: bool, decode: bool | None) -> CheckResult:
    try:
        found = recognise(root)
    except (InputMissing, DataError) as error:
        problem = Problem(root.name, "layout", str(error).removeprefix(f"{root}: "))
        return _result([Document(root.name, problems=[problem])])
    documents = {split: Document(root.name) for split in SPLITS}
    files: dict[Split, list[Path]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        place = found.splits.get(split)
        if place is None:
            documents[split].problems.append(Problem(root.name, split, found.without(split)))
        elif not place.images.is_dir():
            documents[split].problems.append(Problem(root.name, split, place.without_images))
        elif place.part != "val":  # else it is the other part of train's file
            files[split], documents[split] = _check_file(place, drop_bad_boxes=drop_bad_boxes, decode=decode)
    train, val = documents["train"], documents["val"]
    if files["val"] and not (train.problems or val.problems) and train.categories != val.categories:
        val.problems.append(other_categories(val.name, train.categories, val.categories))
    result = _result([train, val])
    notes = (found.line, *result.notes, *shared_note(files["train"], files["val"]))
    return replace(result, notes=notes)


def _check_file(place: Place, *, drop_bad_boxes: bool, decode: bool | None) -> tuple[list[Path], Document]:
    """Returns the image files that are there, and the checked document."""
    file = place.annotations
    try:
        document, _ = read_document(file, drop_bad_boxes=drop_bad_boxes)
    except DataError as error:
        return [], Document(file.name, problems=list(error.problems))
    if decode is None:
        decode = len(document.entries) <= _FEW_IMAGES
    files = find_files(document, place.images, decode=decode)
    require_targets(document)
    document.notes += [note.replace(f"{document.name}: ", "", 1) for note in document.doubts()]
    if document.clipped:
        document.notes.append(f"boxes that reach outside their image and are clipped: {document.clipped}")
    if document.dropped:
        document.notes.append(f"unusable boxes that are left out: {document.dropped}")
    if not decode:
        document.notes.append("only the first and the last bytes of the images were read")
    return list(files.values()), document


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
