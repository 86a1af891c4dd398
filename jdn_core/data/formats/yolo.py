"""Reads a dataset of YOLO: a text file beside every picture's folder, one line a box, in shares of the size.

A line is a class, counted from 0, and either centre x, centre y, width, height, or the corners of a polygon,
whose extent becomes the box. Labels lie where Ultralytics looks for them: in the path of the pictures with
its last ``images`` replaced by ``labels``, under the same name. A picture without a label file shows nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from jdn_core.data import pictures
from jdn_core.data.coco.document import clip
from jdn_core.data.formats.source import SUFFIXES, Findings, Label, Picture, Splits, draw_val
from jdn_core.errors import InputMissing
from jdn_core.processes.progress import report

# Written with a few digits, an edge may come to lie a little outside; ours.
_SLACK = 0.01
_GRID = 1024  # parts of a pixel: fractions that a float holds exactly, so that x + width is the edge itself
_NO_LABELS = ("classes.txt",)  # what labelImg puts among the labels


def read(
    src: Path, findings: Findings, *, names: Sequence[str], train: str, val: str | None, seed: int
) -> Splits:
    """Every picture of the dataset with its boxes.

    Args:
        src: the dataset's folder.
        findings: gets what is wrong.
        names: of the classes 0, 1, 2, ...
        train: folder of the training pictures below ``src``.
        val: folder of the validation pictures below ``src``; without it the seed draws a fifth of train.
        seed: for that.

    Raises:
        InputMissing: a folder is not there, or leads out of ``src``.
    """
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            findings.add(("names", str(number)), "must be a text that no other class has", repr(name))
    found = _read_folder(src, train, names, findings)
    if val is None:
        return draw_val(found, seed=seed)
    return {"train": found, "val": _read_folder(src, val, names, findings)}


def box_of(shares: Sequence[float], size: tuple[int, int]) -> list[float]:
    """[x, y, width, height] in pixels of centre, width and height, or of a polygon's corners x, y, x, y, ...

    Args:
        shares: 4 numbers, or 6 and more, of the picture's width and height.
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
    """``images/train`` -> ``labels/train``; without ``images`` in it, the labels lie among the pictures."""
    parts = list(pictures_folder.parts)
    for position in reversed(range(len(parts))):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return PurePath(*parts)


def _require_pictures(src: Path, labels: Path, known: set[Path], findings: Findings) -> None:
    """Notes label files whose picture is not there, and a folder of labels that is not."""
    if not labels.is_dir():
        findings.add((labels.relative_to(src).as_posix(), ""), "no such folder of labels")
    for path in sorted(labels.rglob("*.txt")):
        if path.relative_to(labels).with_suffix("") not in known and path.name not in _NO_LABELS:
            remedy = "add the picture, or remove the labels"
            findings.add(
                (path.relative_to(src).as_posix(), ""), "there is no picture of that name", "", remedy
            )


def _read_picture(
    src: Path, folder: Path, file: Path, *, labels: Path, names: Sequence[str], findings: Findings
) -> Picture | None:
    name = file.as_posix()
    shown = (folder.relative_to(src) / file).as_posix()
    try:
        path = pictures.locate(folder, name)
    except ValueError as error:
        findings.add((shown, ""), str(error))
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
        place = (shown, f"line {number}")
        try:
            row = _row(line, len(names))
        except ValueError as error:
            findings.add(place, str(error), repr(line))
            continue
        if row is None:
            continue
        box = box_of(row[1:], size)
        if findings.usable(place, box, size):
            x1, y1, x2, y2 = clip(box, size)
            yield Label(names[int(row[0])], [x1, y1, x2 - x1, y2 - y1])


def _row(line: str, classes: int) -> list[float] | None:
    """The numbers of a line that keeps the rules; None of an empty one.

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
