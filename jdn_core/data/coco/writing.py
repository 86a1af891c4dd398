"""Writes a dataset in COCO format: ``annotations/{train,val}.json``, ``train/``, ``val/``; all or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jdn_core.data.layouts import LAYOUTS, Split
from jdn_core.errors import UsageError
from jdn_core.storage.durable import commit_folder, stage_folder, write_bytes, write_json


class NewBox(NamedTuple):
    """A box to write: category id, [x, y, width, height] and area in pixels, and whether it is crowd."""

    category: int
    bbox: Sequence[float]
    area: float
    crowd: bool = False


class NewImage(NamedTuple):
    """An image to write: name below the split's folder, the file's bytes, (width, height), boxes."""

    name: str
    contents: bytes
    size: tuple[int, int]
    boxes: Sequence[NewBox]


def require_free(dst: Path) -> None:
    """Checks that a dataset can be made at ``dst``.

    Raises:
        UsageError: there is a file, or a folder that holds something.
    """
    if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
        raise _taken(dst)


@contextmanager
def new_dataset(dst: Path) -> Iterator[Path]:
    """Yields an empty folder, which takes the place of ``dst`` if the block ends without an error.

    Raises:
        UsageError: see ``require_free``; also if something appeared there meanwhile.
        StorageError: the disk is full or broken.
    """
    require_free(dst)
    dst = dst.absolute()  # "." has no name that a staged folder beside it could be derived from
    staged = stage_folder(dst)
    try:
        yield staged
        if not commit_folder(staged, dst):
            raise _taken(dst)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def write_split(
    folder: Path, split: Split, images: Iterable[NewImage], *, categories: Sequence[str], first_id: int = 1
) -> int:
    """Writes the images and the annotation file of one split; returns the number of its boxes.

    Args:
        folder: of the dataset.
        split: must not be there yet.
        images: taken one at a time, so that not all of them are in memory.
        categories: names of the ids 1, 2, 3, ...
        first_id: of the images, which are numbered on from there.
    """
    images_folder = folder / LAYOUTS[0].images.format(split)
    images_folder.mkdir()
    image_rows: list[dict[str, Any]] = []
    box_rows: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=first_id):
        file = images_folder / image.name
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, image.contents)
        width, height = image.size
        image_rows.append({"id": number, "file_name": image.name, "width": width, "height": height})
        for category, bbox, area, crowd in image.boxes:
            row = {"id": len(box_rows) + 1, "image_id": number, "category_id": category}
            box_rows.append(row | {"bbox": bbox, "area": area, "iscrowd": int(crowd)})
    content = {
        "images": image_rows,
        "annotations": box_rows,
        "categories": [{"id": rank, "name": name} for rank, name in enumerate(categories, start=1)],
    }
    annotation_file = folder / LAYOUTS[0].annotations.format(split)
    annotation_file.parent.mkdir(exist_ok=True)
    write_json(annotation_file, content, indent=None)
    return len(box_rows)


def _taken(dst: Path) -> UsageError:
    return UsageError(f"{dst}: must be a new or empty folder, something is there; name another or remove it")
