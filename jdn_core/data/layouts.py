"""Where the splits of a dataset in COCO format lie: the annotation file and the folder of its images.

A layout is recognised by what lies in the dataset's folder. Where it has no val split, a fifth of train is
taken for it, chosen by the names of the pictures, so that every command takes the same ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from jdn_core.errors import DataError, InputMissing

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val")  # what a search needs; a dataset may have a test split too
_NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
OtherFormat = Literal["yolo", "voc"]
OTHER_FORMATS: Mapping[OtherFormat, str] = {"yolo": "YOLO", "voc": "PASCAL VOC"}
YOLO_FILES = ("data.yaml", "data.yml", "dataset.yaml")  # the description in a dataset's folder
DRAWN = "there is no val split, so a fifth of train is taken for it, chosen by the pictures' names"
_PEEK = 1 << 16  # bytes of an annotation file that are searched for the first names of pictures
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')


class Place(NamedTuple):
    """One split: its annotation file, the folder of its images, and which part of the file it is.

    ``part`` is none for the whole file, else the half that ``drawn_for_val`` tells it.
    """

    annotations: Path
    images: Path
    part: Split | None = None

    @property
    def without_images(self) -> str:
        """Says that the folder is not there."""
        return f"{self.images}: no such folder, but {self.annotations.name} describes its images"


class Layout(NamedTuple):
    """Paths of a split below the dataset's folder; ``{}`` stands for the split's name.

    Without ``{}`` the annotation file is the one of all images, which are train. Of the folders the first
    counts that holds the first picture of the file.
    """

    annotations: str
    images: str
    others: tuple[str, ...] = ()


# A new layout is one more row.
LAYOUTS = (
    Layout("annotations/{}.json", "{}", ("images/{}", "images", ".")),  # what we write
    Layout("annotations/instances_{}2017.json", "{}2017", ("images/{}2017",)),  # COCO's own
    Layout("annotations/instances_{}.json", "images/{}", ("images", "{}")),  # CVAT
    Layout("{}/_annotations.coco.json", "{}"),  # Roboflow
    Layout("{}/labels.json", "{}/data", ("{}",)),  # FiftyOne
    Layout("{}/annotations.json", "{}/images", ("{}",)),
    Layout("{}.json", "{}", ("images/{}", "images", ".")),
)
# Looked for where none of those is there.
WHOLE_LAYOUTS = (
    Layout("annotations/instances_default.json", "images/default", ("images",)),  # CVAT without subsets
    Layout("_annotations.coco.json", "."),
    Layout("labels.json", "data", (".",)),
    Layout("result.json", "images", (".",)),  # Label Studio
    Layout("annotations.json", "images", (".",)),
)


@dataclass(frozen=True)
class Recognised:
    """A dataset's layout: its splits, and what was recognised in one line."""

    splits: Mapping[Split, Place]
    line: str

    def without(self, split: Split) -> str:
        """Says that a split is not there, and what is."""
        root, _, rest = self.line.partition(": ")
        return f"{root}: no {split} split there, but {rest}"


def recognise(root: Path) -> Recognised:
    """Finds the splits of a dataset's folder.

    Raises:
        InputMissing: no layout fits.
        DataError: several layouts fit.
    """
    fitting = _all_fitting(root, LAYOUTS) or _all_fitting(root, WHOLE_LAYOUTS)
    if not fitting:
        raise InputMissing(_none_fits(root))
    told = [
        ", ".join(place.annotations.relative_to(root).as_posix() for place in splits.values())
        for splits in fitting
    ]
    if len(fitting) > 1:
        what = "several layouts fit; take one away, or name the files with data.train_json and data.val_json"
        raise DataError("\n".join([f"{root}: {what}", *(f"{root}: {each}" for each in told)]))
    [splits], line = fitting, f"{root}: {told[0]}"
    if "train" in splits and "val" not in splits:
        splits = {
            **splits,
            "train": splits["train"]._replace(part="train"),
            "val": splits["train"]._replace(part="val"),
        }
        line = f"{line}; {DRAWN}"
    return Recognised(splits, line)


def drawn_for_val(names: Iterable[str]) -> set[str]:
    """Chooses about a fifth of the pictures by a hash of their names, one at least and not all.

    Pictures that are added later leave the others where they are.
    """
    ranks = {name: hashlib.sha256(f"val {name}".encode(errors="replace")).digest() for name in names}
    order = sorted(ranks, key=lambda name: ranks[name])
    count = sum(ranks[name][0] < 256 / 5 for name in order)
    return set(order[: min(max(count, 1), len(order) - 1)])


def find_split(root: Path, split: Split, *, images: Path | None = None) -> Place:
    """Returns where a split is; ``images`` is the folder of its images, where that is known.

    Raises:
        InputMissing: the split's file or its images' folder is not there, naming what was looked for.
        DataError: several layouts fit.
    """
    found = recognise(root)
    if split not in found.splits:
        raise InputMissing(found.without(split))
    place = found.splits[split]
    place = place._replace(images=images or place.images)
    if not place.images.is_dir():
        raise InputMissing(place.without_images)
    return place


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


def _all_fitting(root: Path, layouts: Sequence[Layout]) -> list[dict[Split, Place]]:
    """Returns the splits under each layout that has train or val, else of those that have test alone."""
    found = [splits for layout in layouts if (splits := dict(_fitting(root, layout)))]
    return [splits for splits in found if splits.keys() != {"test"}] or found


def _fitting(root: Path, layout: Layout) -> Iterator[tuple[Split, Place]]:
    """Yields the splits whose annotation file is there under this layout."""
    whole = "{}" not in layout.annotations
    for split, names in _NAMES.items():
        for name in names:
            file = root / layout.annotations.format(name)
            if file.is_file() and not (whole and split != "train"):
                folders = [root / each.format(name) for each in (layout.images, *layout.others)]
                yield split, Place(file, _holding(root, file, folders))
                break


def _holding(root: Path, file: Path, folders: Sequence[Path]) -> Path:
    """Returns the folder that holds a file's first picture, else the first that is there, else the first.

    The dataset's own folder is always there, so it counts only with the picture.
    """
    there = [folder for folder in folders if folder.is_dir()]
    if len(there) == 1 and there[0] != root:
        return there[0]
    with file.open("rb") as opened:
        found = _FILE_NAME.search(opened.read(_PEEK))
    try:
        name = json.loads(found[1]) if found else ""
    except ValueError:
        name = ""
    holding = [folder for folder in there if name and (folder / name).is_file()]
    return (holding or [folder for folder in there if folder != root] or list(folders))[0]


def other_format(root: Path) -> OtherFormat | None:
    """Returns the format of a dataset's folder in which no layout fits; None where it is not known."""
    if any((root / name).is_file() for name in YOLO_FILES):
        return "yolo"
    if (root / "Annotations").is_dir() or next(root.glob("*/*.[xX][mM][lL]"), None):
        return "voc"
    return None


def is_coco(root: Path) -> bool:
    """Returns whether a layout of COCO format fits a dataset's folder."""
    return bool(_all_fitting(root, LAYOUTS) or _all_fitting(root, WHOLE_LAYOUTS))


def _none_fits(root: Path) -> str:
    """Says what was looked for, or of which other format the dataset is."""
    if other := other_format(root):
        title = OTHER_FORMATS[other]
        return (
            f"{root}: is a dataset of {title}; `jdn data convert {other} {root} DST` makes one of COCO format"
        )
    wanted = ", ".join(layout.annotations.format("train") for layout in (*LAYOUTS, *WHOLE_LAYOUTS))
    return f"{root}: no train split there: none of {wanted}"
