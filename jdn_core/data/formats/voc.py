"""Reads a dataset of PASCAL VOC: one XML file a picture in ``Annotations``, pictures in ``JPEGImages``.

Boxes are taken as they are written, x = xmin, y = ymin, width = xmax - xmin, height = ymax - ymin, which is
what today's annotation tools mean. The original challenge counts pixels from 1 with both ends inside, so its
boxes come out a pixel to the right and below, and a pixel small.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from jdn_core.data import pictures
from jdn_core.data.browsing import SUFFIXES
from jdn_core.data.formats.source import Findings, Label, Location, Picture, Source, draw_val
from jdn_core.data.layouts import SPLITS, Split
from jdn_core.errors import InputMissing
from jdn_core.processes.progress import report

_ANNOTATIONS, _IMAGES, _LISTS = "Annotations", "JPEGImages", "ImageSets/Main"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocReader:
    """PASCAL VOC: a folder with ``Annotations`` and ``JPEGImages``, and ``ImageSets/Main`` where it is split.

    Attributes:
        seed: draws a fifth for val where ``train.txt`` and ``val.txt`` are not there. Where they are,
            pictures in neither are left out.
        difficult_as_crowd: make boxes marked ``difficult`` crowd: no target, and ignored in evaluation, as
            VOC's own does; without it they are boxes like others.
    """

    seed: int = 0
    difficult_as_crowd: bool = False

    def read(self, src: Path, findings: Findings) -> Source:
        """Reads every picture; the categories are the names that occur, by alphabet.

        Raises:
            InputMissing: one of the two folders is not there.
        """
        for name in (_ANNOTATIONS, _IMAGES):
            if not (src / name).is_dir():
                raise InputMissing(f"{src}: no folder {name} there, where PASCAL VOC has its {name}")
        lists = _split_lists(src, findings)
        if lists is None:
            names = sorted(path.stem for path in (src / _ANNOTATIONS).glob("*.xml"))
            everything = [(Location(_ANNOTATIONS), name) for name in names]
            splits = draw_val(self._pictures(src, "train", everything, findings), seed=self.seed)
        else:
            named = {split: _listed(path) for split, path in lists.items()}
            splits = {split: self._pictures(src, split, names, findings) for split, names in named.items()}
        every = [picture for found in splits.values() for picture in found]
        return Source(sorted({label.category for picture in every for label in picture.labels}), splits)

    def _pictures(
        self, src: Path, split: Split, names: Sequence[tuple[Location, str]], findings: Findings
    ) -> list[Picture]:
        files = list(_locate(src, names, findings))
        found = []
        for done, file in enumerate(files, start=1):
            picture = _read_picture(src, file, findings, difficult_as_crowd=self.difficult_as_crowd)
            found += [picture] if picture else []
            report(f"read {split}", done, len(files))
        return found


def parse(content: bytes) -> ET.Element:
    """Returns the top element of an annotation file.

    Raises:
        ValueError: not XML, of another kind, or with a document type, the only place where entities that
            expand without end, or that read other files, can be declared.
    """
    # Without NULs, UTF-16 and -32 read like the rest; expat takes no other encoding that moves ASCII.
    if b"<!doctype" in content.replace(b"\0", b"").lower():
        raise ValueError("must not declare a document type or entities")
    try:
        root = ET.fromstring(content)
    except (ET.ParseError, ValueError, LookupError) as error:  # the last two are about its encoding
        raise ValueError(f"not valid XML: {error}") from None
    if root.tag != "annotation":
        raise ValueError(f"the top element must be annotation, not {root.tag}")
    return root


def _split_lists(src: Path, findings: Findings) -> dict[Split, Path] | None:
    """Returns the list of each split; None where there is none, or a half, which is noted."""
    lists = {split: src / _LISTS / f"{split}.txt" for split in SPLITS}
    there = [split for split, path in lists.items() if path.is_file()]
    if len(there) == 1:
        rule = "must hold train.txt and val.txt, or neither"
        findings.add(Location(_LISTS), rule, f"{there[0]}.txt alone")
    return lists if len(there) == len(lists) else None


def _listed(path: Path) -> list[tuple[Location, str]]:
    """Returns the names in a split's list, one a line, each with its place there."""
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    return [
        (Location(f"{_LISTS}/{path.name}", f"line {number}"), line.strip())
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _locate(src: Path, names: Sequence[tuple[Location, str]], findings: Findings) -> Iterator[Path]:
    """Yields the annotation files of these names, as far as they are there."""
    for location, name in names:
        try:
            yield pictures.locate(src / _ANNOTATIONS, f"{name}.xml")
        except ValueError as error:
            findings.add(location, str(error), f"{name}.xml", "add the annotation, or remove its name")


def _read_picture(src: Path, file: Path, findings: Findings, *, difficult_as_crowd: bool) -> Picture | None:
    shown = file.relative_to(src).as_posix()
    try:
        root = parse(file.read_bytes())
    except ValueError as error:
        findings.add(Location(shown), str(error))
        return None
    said = _text(root, "filename")
    try:
        name, path = _find_picture(src / _IMAGES, said)
    except ValueError as error:
        findings.add(Location(shown, "filename"), str(error), repr(said))
        return None
    size = findings.measure(f"{_IMAGES}/{name}", path)
    if size is None:
        return None
    width, height = (_number(_text(root, f"size/{side}")) for side in ("width", "height"))
    # Some tools write 0x0 or nothing; a true size of another picture or orientation misplaces the boxes.
    if width and height and (width, height) != size:
        what = f"must be that of the upright picture, {size[0]}x{size[1]}"
        findings.add(Location(shown, "size"), what, f"{width:g}x{height:g}", "correct width and height")
        return None
    labels = []
    for index, element in enumerate(root.findall("object")):
        label = _label(Location(shown, f"object[{index}]"), element, size, findings)
        if label:
            crowd = difficult_as_crowd and _number(_text(element, "difficult")) == 1
            labels.append(replace(label, crowd=crowd))
    return Picture(name, path, size, tuple(labels))


def _find_picture(images: Path, said: str) -> tuple[str, Path]:
    """Returns (name, file) of a picture; some tools leave its ending out.

    Raises:
        ValueError: there is none, or the name leads out of the folder.
    """
    if PurePath(said).suffix.lower() not in SUFFIXES:
        said = next((said + end for end in SUFFIXES if os.path.isfile(images / (said + end))), said)
    return PurePath(said).as_posix(), pictures.locate(images, said)


def _label(
    location: Location, element: ET.Element, size: tuple[int, int], findings: Findings
) -> Label | None:
    """Returns an object's box; None where it breaks a rule or is left out."""
    file, where = location
    before = len(findings.problems)
    category = _text(element, "name")
    if not category:
        findings.add(Location(file, f"{where}.name"), "must be a text", repr(category))
    edges = []
    for side in _SIDES:
        text = _text(element, f"bndbox/{side}")
        edge = _number(text)
        if edge is None:
            findings.add(Location(file, f"{where}.bndbox.{side}"), "must be a finite number", repr(text))
        else:
            edges.append(edge)
    if len(findings.problems) > before:
        return None
    x1, y1, x2, y2 = edges
    box = [x1, y1, x2 - x1, y2 - y1]
    return Label(category, box) if findings.usable(Location(file, f"{where}.bndbox"), box, size) else None


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
