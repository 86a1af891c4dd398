"""Reads a dataset of YOLO: a text file beside every picture's folder, one line a box, in shares of the size.

A line is a class, counted from 0, and either centre x, centre y, width, height, or the corners of a polygon,
whose extent becomes the box. Labels lie where Ultralytics looks for them: in the path of the pictures with
its last ``images`` replaced by ``labels``, under the same name. A picture without a label file shows nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from jdn_core.data import pictures
from jdn_core.data.browsing import browse, is_picture
from jdn_core.data.coco.document import clip
from jdn_core.data.formats.source import Findings, Label, Location, Picture, Source, with_val
from jdn_core.data.layouts import Split
from jdn_core.errors import InputMissing
from jdn_core.processes.progress import report

# Shares written with a few digits may put an edge a little outside the picture; the amount is ours.
_SLACK = 0.01
_GRID = 1024  # parts of a pixel: fractions that a float holds exactly, so that x + width is the edge itself
_NO_LABELS = ("classes.txt",)  # what labelImg puts among the labels


@dataclass(frozen=True)
class YoloReader:
    """YOLO: folders of pictures, or text files that list them, and labels beside them.

    Attributes:
        names: of the classes 0, 1, 2, ..., which become the categories with the ids 1, 2, 3, ...
        splits: where each split's pictures are, below the dataset's folder: folders, or ``.txt`` files that
            name a picture a line. Without val the seed draws a fifth of train.
        seed: for that.
        description: the file that says all this, below the dataset's folder; none where there is none.
        rule: what told the splits apart.
    """

    names: Sequence[str]
    splits: Mapping[Split, Sequence[str]]
    seed: int = 0
    description: PurePath | None = None
    rule: str = "as the folders are"

    def read(self, src: Path, findings: Findings) -> Source:
        """Reads every picture with its boxes.

        Raises:
            InputMissing: a folder is not there, or leads out of ``src``.
        """
        for number, name in enumerate(self.names):
            if not name or name in self.names[:number]:
                location = Location("names", str(number))
                findings.add(location, "must be a text that no other class has", repr(name))
        findings.used |= {self.description} if self.description else set()
        found = {split: _read_split(src, self, split, findings) for split in self.splits}
        return Source(self.names, *with_val(found, seed=self.seed, rule=self.rule))


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


@dataclass(frozen=True)
class _Files:
    """A split's pictures below the dataset's folder, their names in it, and the folders of their labels."""

    names: dict[PurePath, str] = field(default_factory=dict)
    labels: list[Path] = field(default_factory=list)


def _read_split(src: Path, reader: YoloReader, split: Split, findings: Findings) -> list[Picture]:
    given = reader.splits[split]
    files = _Files()
    for name in given:
        (_add_list if name.endswith(".txt") else _add_folder)(src, name, files, several=len(given) > 1)
        findings.used |= {PurePath(name)} if name.endswith(".txt") else set()
    known = {_label_file(file) for file in files.names}
    for folder in files.labels:
        _require_pictures(src, folder, known, findings)
    found = []
    for done, file in enumerate(sorted(files.names), start=1):
        picture = _read_picture(src, file, files.names[file], names=reader.names, findings=findings)
        found += [picture] if picture else []
        report(f"read {split}", done, len(files.names))
    return found


def _add_folder(src: Path, name: str, files: _Files, *, several: bool) -> None:
    """Adds a folder's pictures; with several folders a picture's name begins with its folder's."""
    folder = _inside(src, name)
    base = PurePath(name)
    for file in filter(is_picture, browse(folder).files):
        files.names[base / file] = ((base if several else PurePath()) / file).as_posix()
    files.labels.append(src / _as_labels(base))


def _add_list(src: Path, name: str, files: _Files, *, several: bool) -> None:
    """Adds the pictures that a text file names, from the dataset's folder or absolute inside it."""
    file = _inside(src, name, file=True)
    for line in file.read_text("utf-8-sig", "replace").splitlines():
        path = PurePath(line.strip().replace("\\", "/"))
        if path.is_absolute() and path.is_relative_to(src.resolve()):
            path = path.relative_to(src.resolve())
        if path.name:
            files.names[path] = path.as_posix()


def _inside(src: Path, name: str, *, file: bool = False) -> Path:
    path = PurePath(name)
    place = src / path
    inside = Path(os.path.realpath(place)).is_relative_to(os.path.realpath(src))
    kind = "file" if file else "folder"
    if path.is_absolute() or ".." in path.parts or not inside:
        raise InputMissing(f"{name}: must be a {kind} inside {src}, given without '..'")
    if not (place.is_file() if file else place.is_dir()):
        raise InputMissing(f"{place}: no such {kind} of pictures")
    return place


def _as_labels(path: PurePath) -> PurePath:
    """Returns ``labels/train`` for ``images/train``; what has no ``images`` in it stays as it is."""
    parts = list(path.parts)
    for position in reversed(range(len(parts))):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return PurePath(*parts)


def _label_file(picture: PurePath) -> PurePath:
    """Returns where the labels of a picture are, both below the dataset's folder."""
    return (_as_labels(picture.parent) / picture.name).with_suffix(".txt")


def _require_pictures(src: Path, labels: Path, known: set[PurePath], findings: Findings) -> None:
    """Notes label files whose picture is not there, and a folder of labels that is not."""
    if not labels.is_dir():
        findings.add(Location(labels.relative_to(src).as_posix()), "no such folder of labels")
        return
    inside = PurePath(labels.relative_to(src))
    for file in (inside / file for file in browse(labels).files if file.suffix == ".txt"):
        if file.name in _NO_LABELS:
            findings.left_out[file] = "lists of classes"
        elif file not in known:
            remedy = "add the picture, or remove the labels"
            findings.add(Location(file.as_posix()), "there is no picture of that name", remedy=remedy)


def _read_picture(
    src: Path, file: PurePath, name: str, *, names: Sequence[str], findings: Findings
) -> Picture | None:
    shown = file.as_posix()
    try:
        path = pictures.locate(src, shown)
    except ValueError as error:
        findings.add(Location(shown), str(error))
        return None
    findings.used.add(file)
    size = findings.measure(shown, path)
    if size is None:
        return None
    labels = _label_file(file)
    if not (src / labels).is_file():
        return Picture(name, path, size, ())
    findings.used.add(labels)
    return Picture(name, path, size, tuple(_labels(src / labels, labels.as_posix(), size, names, findings)))


def _labels(
    path: Path, shown: str, size: tuple[int, int], names: Sequence[str], findings: Findings
) -> Iterator[Label]:
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
