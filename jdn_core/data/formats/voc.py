"""Reads a dataset of PASCAL VOC: an XML file a picture, in ``Annotations`` and ``JPEGImages``, or beside it.

Boxes are taken as they are written, x = xmin, y = ymin, width = xmax - xmin, height = ymax - ymin, which is
what today's annotation tools mean. The original challenge counts pixels from 1 with both ends inside, as do
``supervision`` and exports made with it: for those the edges xmin and ymin are one less.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from jdn_core.data import pictures
from jdn_core.data.formats.source import Findings, Label, Location, Picture, Source, with_val
from jdn_core.data.formats.voc_files import VocFiles, find_files, name_in_split
from jdn_core.data.layouts import Split
from jdn_core.processes.progress import report

_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocReader:
    """PASCAL VOC: XML files and pictures; split by ``ImageSets/Main``, else by folders called train and val.

    Attributes:
        seed: draws a fifth for val where nothing says what is val.
        one_based: edges xmin and ymin are those of pixels that are counted from 1.
        difficult_as_crowd: make boxes marked ``difficult`` crowd: no target, and ignored in evaluation, as
            VOC's own does; without it they are boxes like others.
    """

    seed: int = 0
    difficult_as_crowd: bool = False
    one_based: bool = False

    def read(self, src: Path, findings: Findings) -> Source:
        """Reads every picture; the categories are the names that occur, by alphabet.

        Raises:
            InputMissing: there is no annotation.
        """
        files = find_files(src, findings)
        stale: list[PurePath] = []
        found = {split: self._pictures(src, files, split, findings, stale) for split in files.splits}
        if stale:
            what = f"{len(stale)} annotations say another filename than their own name, which counts"
            findings.notes.append(f"{what}: {', '.join(file.as_posix() for file in stale[:3])} ...")
        splits, rule = with_val(found, seed=self.seed, rule=files.rule)
        every = [picture for some in splits.values() for picture in some]
        findings.notes += [] if self.one_based else _doubts(every)
        return Source(sorted({label.category for picture in every for label in picture.labels}), splits, rule)

    def _pictures(
        self, src: Path, files: VocFiles, split: Split, findings: Findings, stale: list[PurePath]
    ) -> list[Picture]:
        found = []
        for done, file in enumerate(files.splits[split], start=1):
            picture = _read_picture(src, files, file, findings, stale)
            if picture is not None:
                if self.one_based:
                    picture = replace(picture, labels=tuple(map(_from_zero, picture.labels)))
                labels = tuple(
                    replace(label, crowd=label.crowd and self.difficult_as_crowd) for label in picture.labels
                )
                found.append(
                    replace(picture, name=name_in_split(PurePath(picture.name), split), labels=labels)
                )
            report(f"read {split}", done, len(files.splits[split]))
        return found


def _from_zero(label: Label) -> Label:
    """Returns a box whose left and upper edges were counted from 1."""
    x, y, width, height = label.bbox
    return replace(label, bbox=[x - 1, y - 1, width + 1, height + 1])


def _doubts(found: Sequence[Picture]) -> list[str]:
    """Suspects that pixels are counted from 1, where no box begins at 0, some do at 1, and all are whole."""
    starts = [edge for picture in found for label in picture.labels for edge in label.bbox[:2]]
    ones = starts.count(1)
    if not ones or min(starts) < 1 or not all(float(edge).is_integer() for edge in starts):
        return []
    return [
        f"no box begins at 0 and {ones} edges at 1: if pixels are counted from 1, convert with --one-based"
    ]


class OtherXml(ValueError):
    """The file is XML, but no annotation."""


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
        raise OtherXml(f"the top element must be annotation, not {root.tag}")
    return root


def _read_picture(
    src: Path, files: VocFiles, file: PurePath, findings: Findings, stale: list[PurePath]
) -> Picture | None:
    """Returns an annotation's picture, its difficult boxes as crowd; None where it breaks a rule."""
    inside = files.folder / file
    shown = inside.as_posix()
    try:
        root = parse((src / inside).read_bytes())
    except ValueError as error:
        if isinstance(error, OtherXml) and not files.folder.parts:
            findings.left_out[inside] = "XML files that are no annotations"
        else:
            findings.add(Location(shown), str(error))
        return None
    said = _text(root, "filename")
    try:
        name, is_stale = files.album.find(file, said)
        path = pictures.locate(files.album.root, name.as_posix())
    except ValueError as error:
        findings.add(Location(shown, "filename"), str(error), repr(said))
        return None
    stale += [inside] if is_stale else []
    picture_file = PurePath(path.relative_to(src))
    findings.used |= {inside, picture_file}
    size = findings.measure(picture_file.as_posix(), path)
    if size is None or not _is_size(root, Location(shown, "size"), size, findings):
        return None
    labels = []
    for index, element in enumerate(root.findall("object")):
        label = _label(Location(shown, f"object[{index}]"), element, size, findings)
        if label:
            labels.append(replace(label, crowd=_number(_text(element, "difficult")) == 1))
    return Picture(name.as_posix(), path, size, tuple(labels))


def _is_size(root: ET.Element, location: Location, size: tuple[int, int], findings: Findings) -> bool:
    """Checks the size that an annotation states; some tools write 0x0 or nothing.

    A true size of another picture or orientation would misplace the boxes.
    """
    width, height = (_number(_text(root, f"size/{side}")) for side in ("width", "height"))
    if not (width and height) or (width, height) == size:
        return True
    what = f"must be that of the upright picture, {size[0]}x{size[1]}"
    findings.add(location, what, f"{width:g}x{height:g}", "correct width and height")
    return False


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
