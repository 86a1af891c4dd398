"""The rules of a COCO annotation file: sections, ids and boxes, all problems found in one pass."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from jdn_core.data.coco.guesses import Overhang, box_of_polygons, with_whole_numbers
from jdn_core.errors import Problem, shown

Row = Mapping[str, Any]
Box = tuple[float, float, float, float]

_ANY_SIZE = (2**31, 2**31)  # of an image whose size is wrong, so that its boxes' own faults are told too
_LARGEST_ID = 2**63 - 1  # pycocotools keeps ids in int64 arrays
_UNWRITABLE = ("Cc", "Cs")  # control characters, and halves of surrogate pairs, which no file can hold
_WRITABLE = "must have no line breaks, control characters or halves of characters"


@dataclass(frozen=True)
class Category:
    """A class of the dataset; its label is the rank of its id plus one, because 0 is the background."""

    id: int
    name: str


@dataclass(frozen=True)
class Entry:
    """An image as the annotation file names it: its place there, and its upright size in pixels."""

    where: str
    id: int
    file_name: str
    width: int
    height: int


@dataclass(eq=False)
class Document:
    """What an annotation file says, as far as it keeps the rules.

    Attributes:
        name: what problems call the file.
        entries: the sound images, in the file's order.
        categories: the sound categories by rising id.
        boxes: image id -> boxes x1, y1, x2, y2 in pixels with their category id; clipped, usable, not crowd.
        raw: the annotations as an evaluation sees them: unclipped, with crowd, ``area`` and ``iscrowd``
            filled in, and ids 1, 2, 3, ... because pycocotools takes a match with id 0 for no match.
        annotations: how many annotations the file lists.
        clipped: boxes that reached outside their image.
        dropped: unusable boxes that were left out on demand.
        outlined: boxes that are the extent of their polygons, because the file has none.
        overhang: whether the boxes look like corners.
        problems: every rule that does not hold.
        notes: facts worth knowing that break no rule.
    """

    name: str
    entries: list[Entry] = field(default_factory=list)
    categories: tuple[Category, ...] = ()
    boxes: dict[int, list[tuple[Box, int]]] = field(default_factory=dict)
    raw: list[dict[str, Any]] = field(default_factory=list)
    annotations: int = 0
    clipped: int = 0
    dropped: int = 0
    outlined: int = 0
    overhang: Overhang = field(default_factory=Overhang)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, where: str, what: str, value: object = None, remedy: str = "") -> None:
        """Notes one problem, with as much of the value as fits a line; none is said as such."""
        text = "nothing" if value is None else shown(value)
        self.problems.append(Problem(self.name, where, what, text, remedy))

    def doubts(self) -> list[str]:
        """Says what was made of the boxes, and what is odd about them, a line each."""
        found = []
        if self.outlined:
            found.append(
                f"{self.name}: boxes that are made of polygons, for there is no bbox: {self.outlined}"
            )
        if self.overhang.is_suspicious:
            found.append(f"WARNING: {self.name}: {self.overhang}")
        return found


def examine(data: object, name: str, *, drop_bad_boxes: bool = False) -> Document:
    """Checks a parsed annotation file against every rule that needs no image file.

    Args:
        data: any JSON value.
        name: what problems call the file.
        drop_bad_boxes: leave unusable boxes (see ``fault``) out, counted, instead of reporting them.
    """
    document = Document(name)
    if not isinstance(data, Mapping):
        document.add("", "the top level must be an object with images, annotations and categories", data)
        return document
    rows = {
        section: list(_rows(document, data, section)) for section in ("categories", "images", "annotations")
    }
    document.categories = tuple(sorted(_categories(document, rows["categories"]), key=lambda one: one.id))
    document.entries = list(_entries(document, rows["images"]))
    document.annotations = len(data["annotations"]) if isinstance(data.get("annotations"), list) else 0
    # An image that breaks another rule still counts here, so that its boxes are not reported as well.
    ids = {
        section: {row["id"] for _, row in rows[section]}
        for section in ("images", "categories")
        if section in data
    }
    sizes = {entry.id: (entry.width, entry.height) for entry in document.entries}
    for where, row in rows["annotations"]:
        if _points_right(document, where, row, ids) and "images" in ids:
            size = sizes.get(row["image_id"], _ANY_SIZE)
            _take_box(document, where, row, size=size, drop=drop_bad_boxes)
    return document


def fault(box: object, size: tuple[int, int]) -> tuple[str, object] | None:
    """Returns why a box cannot be used, with the offending value; None where it can.

    Args:
        box: what the file holds; should be [x, y, width, height] in pixels.
        size: (width, height) of the image.
    """
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        return "must be four finite numbers [x, y, width, height]", box
    for side, length in zip(("width", "height"), box[2:], strict=True):
        if length <= 0:
            return f"{side} must be > 0", length
    x1, y1, x2, y2 = clip(box, size)
    if x2 - x1 < 1 or y2 - y1 < 1:
        return f"must cover at least 1x1 pixel of its {size[0]}x{size[1]} image", box
    return None


def clip(box: list[float], size: tuple[int, int]) -> Box:
    """Clips [x, y, width, height] to x1, y1, x2, y2 inside the image; x2 < x1 or y2 < y1 if it is outside."""
    x, y, width, height = box
    return max(x, 0.0), max(y, 0.0), min(x + width, size[0]), min(y + height, size[1])


def _rows(document: Document, data: Row, section: str) -> Iterator[tuple[str, Row]]:
    """Yields (place, row) for every row of a section that is an object with an id of its own."""
    rows = data.get(section)
    if not isinstance(rows, list):
        document.add(section, "must be a list", rows)
        return
    first: dict[int, str] = {}
    for index, given in enumerate(rows):
        where = f"{section}[{index}]"
        row = with_whole_numbers(given) if isinstance(given, Mapping) else given
        if not isinstance(row, Mapping):
            document.add(where, "must be an object", row)
        elif not _is_whole(row.get("id")):
            document.add(f"{where}.id", "must be a whole number", row.get("id"))
        elif first.setdefault(row["id"], where) != where:
            document.add(f"{where}.id", f"must be unique, but {first[row['id']]} has it too", row["id"])
        else:
            yield where, row


def _categories(document: Document, rows: list[tuple[str, Row]]) -> Iterator[Category]:
    for where, row in rows:
        name = row.get("name")
        if not isinstance(name, str) or not name.strip():
            document.add(f"{where}.name", "must be a text", name)
        elif not _is_writable(name):
            document.add(f"{where}.name", _WRITABLE, name)
        else:
            yield Category(row["id"], name)


def _entries(document: Document, rows: list[tuple[str, Row]]) -> Iterator[Entry]:
    for where, row in rows:
        before = len(document.problems)
        name = row.get("file_name")
        if not isinstance(name, str):
            document.add(f"{where}.file_name", "must be a text", name)
        elif not _is_writable(name):
            document.add(f"{where}.file_name", _WRITABLE, name)
        for side in ("width", "height"):
            if not _is_whole(row.get(side)) or row[side] < 1:
                document.add(f"{where}.{side}", "must be a whole number > 0", row.get(side))
        if len(document.problems) == before:
            yield Entry(where, row["id"], str(name), row["width"], row["height"])


def _points_right(document: Document, where: str, row: Row, ids: Mapping[str, Set[int]]) -> bool:
    """Returns whether an annotation's image, category, crowd flag and area keep the rules."""
    before = len(document.problems)
    for section, one in (("images", "image"), ("categories", "category")):
        target = row.get(f"{one}_id")
        if not _is_whole(target):
            document.add(f"{where}.{one}_id", "must be a whole number", target)
        elif section in ids and target not in ids[section]:
            remedy = f"add the {one}, or remove annotation {row['id']}"
            document.add(f"{where}.{one}_id", f"must be the id of one of the {section}", target, remedy)
    if row.get("iscrowd", 0) not in (0, 1):
        document.add(f"{where}.iscrowd", "must be 0 or 1", row["iscrowd"])
    if not _is_number(row.get("area", 0)):
        document.add(f"{where}.area", "must be a finite number", row["area"])
    return len(document.problems) == before


def _take_box(document: Document, where: str, row: Row, *, size: tuple[int, int], drop: bool) -> None:
    box, crowd = row.get("bbox") or None, int(row.get("iscrowd", 0))
    if box is None and (outline := row.get("segmentation")):
        box = box_of_polygons(outline)
        document.outlined += box is not None
    found = fault(box, size)
    if box is None and row.get("segmentation") and not drop:
        document.add(
            f"{where}.bbox", "has a segmentation but no bbox", None, "compute it, as mask.toBbox does"
        )
    elif found and drop:
        document.dropped += 1
    elif found:
        document.add(f"{where}.bbox", *found, "drop the box or pass --drop-bad-boxes")
    if isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)):
        kept = {"id": len(document.raw) + 1, "image_id": row["image_id"], "category_id": row["category_id"]}
        document.raw.append(kept | {"bbox": box, "area": row.get("area", box[2] * box[3]), "iscrowd": crowd})
        clipped = clip(box, size)
        document.overhang.count(box, size)
        document.clipped += not found and clipped != (box[0], box[1], box[0] + box[2], box[1] + box[3])
        if not (found or crowd):
            document.boxes.setdefault(row["image_id"], []).append((clipped, row["category_id"]))


def _is_writable(text: str) -> bool:
    return text.isprintable() or not any(unicodedata.category(letter) in _UNWRITABLE for letter in text)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_ID


def _is_number(value: object) -> bool:
    """Returns whether it is a number that a float can be; ``math.isfinite`` raises on larger whole ones."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max
