"""Where the splits of a dataset in COCO format lie: the annotation file and the folder of its images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from jdn_core.errors import InputMissing

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val")  # what a search needs; a dataset may have a test split too


class Layout(NamedTuple):
    """Paths of a split below the dataset's folder; ``{}`` stands for the split's name."""

    annotations: str
    images: str


# A new layout is one more row.
LAYOUTS = (
    Layout("annotations/{}.json", "{}"),  # what we write
    Layout("annotations/instances_{}2017.json", "{}2017"),  # COCO's own
)


def find_split(root: Path, split: Split) -> tuple[Path, Path]:
    """Returns (annotation file, image folder) of a split, in the first layout that has its file.

    Raises:
        InputMissing: the folder or a split's file is not there, naming what was looked for.
    """
    for layout in LAYOUTS:
        file, folder = root / layout.annotations.format(split), root / layout.images.format(split)
        if file.is_file():
            if not folder.is_dir():
                raise InputMissing(f"{folder}: no such folder, but {file.name} describes its images")
            return file, folder
    wanted = " nor ".join(layout.annotations.format(split) for layout in LAYOUTS)
    raise InputMissing(f"{root}: no {split} split there: neither {wanted}")


def images_of(annotation_file: Path) -> Path:
    """Returns the folder that most likely holds the images of a lone annotation file."""
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
