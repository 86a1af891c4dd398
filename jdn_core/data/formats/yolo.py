"""Reads a dataset of YOLO: a text file beside every picture's folder, one line a box, in shares of the size.

A line is a class, counted from 0, and either centre x, centre y, width, height, or the corners of a polygon,
whose extent becomes the box. Labels lie where Ultralytics looks for them: in the path of the pictures with
its last ``images`` replaced by ``labels``, under the same name. A picture without a label file shows nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from jdn_core.data import pictures
from jdn_core.data.browsing import SUFFIXES
from jdn_core.data.coco.document import clip
from jdn_core.data.formats.source import Findings, Label, Location, Picture, Source, draw_val
from jdn_core.errors import InputMissing
from jdn_core.processes.progress import report

# Shares written with a few digits may put an edge a little outside the picture; the amount is ours.
_SLACK = 0.01
_GRID = 1024  # parts of a pixel: fractions that a float holds exactly, so that x + width is the edge itself
_NO_LABELS = ("classes.txt",)  # what labelImg puts among the labels


@dataclass(frozen=True)
class YoloReader:
    """YOLO: folders of pictures, and of labels beside them.

    Attributes:
        names: of the classes 0, 1, 2, ..., which become the categories with the ids 1, 2, 3, ...
        train: folder of the training pictures below the dataset's.
        val: folder of the validation pictures; None lets the seed draw a fifth of train.
        seed: for that.
    """

    names: Sequence[str]
    train: str
    val: str | None
    seed: int = 0

    def read(self, src: Path, findings: Findings) -> Source:
        """Reads every picture with its boxes.

        Raises:
            InputMissing: a folder is not there, or leads out of ``src``.
        """
        for number, name in enumerate(self.names):
            if not name or name in self.names[:number]:
                location = Location("names", str(number))
                findings.add(location, "must be a text that no other class has", repr(name))
        train = _read_folder(src, self.train, self.names, findings)
        if self.val is None:
            return Source(self.names, draw_val(train, seed=self.seed))
        return Source(self.names, {"train": train, "val": _read_folder(src, self.val, self.names, findings)})


def box_of(shares: Sequence[float], size: tuple[int, int]) -> list[float]:
    """Returns the box [x, y, width, height] in pixels of a line's numbers.

    Args:
        shares: of the picture's width and height: centre x, centre y, width, height, or the corners x, y, x,
            y, ... of a polygon, 6 numbers at least.
        size: (width, height) of the picture in pixels.
    """
    if len(shares) == 4:
        x, y, width, height = shares
        xs, ys = [x - width / 2, x + width / 2], [y - height / 2, y + height / 2]
    else:
        xs, ys = [min(shares[::2]), max(shares[::2])], [min(shares[1::2]), max(shares[1::2])]
    (x1, x2), (y1, y2) = (
        [round(edge * side * _GRID) / _GRID for edge in edges]
        for edges, side in zip((xs, ys), size, strict=True)
    )
    return [x1, y1, x2 - x1, y2 - y1]


def _read_folder(src: Path, name: str, names: Sequence[str], findings: Findings) -> list[Picture]:
    folder = _inside(src, name)
    labels = src / _label_folder(PurePath(name))
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    _require_pictures(src, labels, {file.with_suffix("") for file in files}, findings)
    found = []
    for done, file in enumerate(sorted(files), start=1):
        picture = _read_picture(src, folder, file, labels=labels, names=names, findings=findings)
        found += [picture] if picture else []
        report(f"read {name}", done, len(files))
    return found


def _inside(src: Path, name: str) -> Path:
    path = PurePath(name)
    folder = src / path
    inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(src))
    if path.is_absolute() or ".." in path.parts or not inside:
        raise InputMissing(f"{name}: must be a folder inside {src}, given without '..'")
    if not folder.is_dir():
        raise InputMissing(f"{folder}: no such folder of pictures")
    return folder


def _label_folder(pictures_folder: PurePath) -> PurePath:
    """Returns ``labels/train`` for ``images/train``; without ``images`` in it, the pictures' own folder."""
    parts = list(pictures_folder.parts)
    for position in reversed(range(len(parts))):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return PurePath(*parts)


def _require_pictures(src: Path, labels: Path, known: set[Path], findings: Findings) -> None:
    """Notes label files whose picture is not there, and a folder of labels that is not."""
    if not labels.is_dir():
        findings.add(Location(labels.relative_to(src).as_posix()), "no such folder of labels")
    for path in sorted(labels.rglob("*.txt")):
        if path.relative_to(labels).with_suffix("") not in known and path.name not in _NO_LABELS:
            remedy = "add the picture, or remove the labels"
            location = Location(path.relative_to(src).as_posix())
            findings.add(location, "there is no picture of that name", remedy=remedy)


def _read_picture(
    src: Path, folder: Path, file: Path, *, labels: Path, names: Sequence[str], findings: Findings
) -> Picture | None:
    name = file.as_posix()
    shown = (folder.relative_to(src) / file).as_posix()
    try:
        path = pictures.locate(folder, name)
    except ValueError as error:
        findings.add(Location(shown), str(error))
        return None
    size = findings.measure(shown, path)
    if size is None:
        return None
    text_file = (labels / file).with_suffix(".txt")
    found = _labels(text_file, text_file.relative_to(src).as_posix(), size, names, findings)
    return Picture(name, path, size, tuple(found))


def _labels(
    path: Path, shown: str, size: tuple[int, int], names: Sequence[str], findings: Findings
) -> Iterator[Label]:
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text("utf-8-sig", errors="replace").splitlines(), start=1):
        location = Location(shown, f"line {number}")
        try:
            row = _row(line, len(names))
        except ValueError as error:
            findings.add(location, str(error), repr(line))
            continue
        if row is None:
            continue
        box = box_of(row[1:], size)
        if findings.usable(location, box, size):
            x1, y1, x2, y2 = clip(box, size)
            yield Label(names[int(row[0])], [x1, y1, x2 - x1, y2 - y1])


def _row(line: str, classes: int) -> list[float] | None:
    """Returns the numbers of a line that keeps the rules; None of an empty one.

    Raises:
        ValueError: it breaks a rule, which is the message.
    """
    words = line.split()
    if not words:
        return None
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise ValueError("must be a class and 4 numbers, or a class and 3 corners x y at least")
    try:
        row = [float(word) for word in words]
    except ValueError:
        raise ValueError("must be numbers") from None
    if row[0] not in range(classes):
        raise ValueError(f"class must be a whole number in 0..{classes - 1}")
    if not all(-_SLACK <= share <= 1 + _SLACK for share in row[1:]):
        raise ValueError("must be shares of the picture's width and height, in 0..1")
    return row
