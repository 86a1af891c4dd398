"""Converts a dataset of another format to COCO format; pictures are copied byte for byte.

The folder appears whole, after it passed the check of any dataset, or not at all. Every file of the source is
accounted for: used, or named with the reason why not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from jdn_core.data.browsing import browse
from jdn_core.data.coco.checking import check
from jdn_core.data.coco.writing import NewBox, NewImage, new_dataset, require_free, write_split
from jdn_core.data.formats.source import Findings, Location, Picture, Reader, Splits
from jdn_core.data.layouts import Split
from jdn_core.errors import DataError, InputMissing
from jdn_core.processes.progress import report


@dataclass(frozen=True)
class Conversion:
    """What was made of a dataset.

    Attributes:
        counts: ``images``, each split, ``boxes``, ``categories``, and boxes ``dropped``.
        rule: what told the splits apart.
        used: number of files of the source that were read.
        left_out: all its other files with the reason.
        notes: facts worth knowing that break no rule.
    """

    counts: Mapping[str, int]
    rule: str
    used: int
    left_out: Mapping[PurePath, str]
    notes: tuple[str, ...]


def convert(src: Path, dst: Path, reader: Reader, *, drop_bad_boxes: bool = False) -> Conversion:
    """Makes a COCO folder of a dataset.

    Args:
        src: the dataset's folder.
        dst: the folder to make; an empty one may be there.
        reader: of the dataset's format.
        drop_bad_boxes: leave unusable boxes out, counted, instead of refusing the dataset.

    Raises:
        InputMissing: the dataset or one of its folders is not there.
        DataError: the dataset breaks rules; all of them are named.
        UsageError: ``dst`` holds something.
        StorageError: the disk is full or broken.
    """
    if not src.is_dir():
        raise InputMissing(f"{src}: no such folder")
    require_free(dst)
    findings = Findings(drop_bad_boxes)
    source = reader.read(src, findings)
    left_out = _left_out(src, findings)
    _require_once(source.splits, findings)
    if findings.problems:
        raise DataError.of(findings.problems)
    ids = {name: number for number, name in enumerate(source.categories, start=1)}
    boxes = 0
    with new_dataset(dst) as folder:
        for split, found in source.splits.items():
            images = _images(split, found, ids)
            boxes += write_split(folder, split, images, categories=source.categories)
        result = check(folder, decode=False)  # the reader decoded every picture already
        if not result.ok:
            raise DataError.of(result.problems)
    sizes = {str(split): len(found) for split, found in source.splits.items()}
    rest = {"boxes": boxes, "categories": len(source.categories), "dropped": findings.dropped}
    counts = {"images": sum(sizes.values())} | sizes | rest
    warnings = [note for note in result.notes if "WARNING" in note]
    return Conversion(counts, source.rule, len(findings.used), left_out, (*findings.notes, *warnings))


def _left_out(src: Path, findings: Findings) -> dict[PurePath, str]:
    """Returns every file that was not used, with its reason."""
    inside = browse(src)
    found = dict.fromkeys(inside.hidden, "hidden files")
    found |= dict.fromkeys(inside.files, "no part of the dataset")
    found |= findings.left_out
    return {file: reason for file, reason in sorted(found.items()) if file not in findings.used}


def _require_once(splits: Splits, findings: Findings) -> None:
    """Notes pictures that are there twice: in both splits they would be trained on and then scored."""
    places: dict[Path, list[Split]] = {}
    for split, found in splits.items():
        for picture in found:
            places.setdefault(picture.path.resolve(), []).append(split)
    for path, there in places.items():
        if len(there) > 1:
            findings.add(Location(path.name), "must be annotated once and be in one split", ", ".join(there))


def _images(split: Split, found: Sequence[Picture], ids: Mapping[str, int]) -> Iterator[NewImage]:
    for done, picture in enumerate(found, start=1):
        boxes = [
            NewBox(ids[label.category], label.bbox, label.bbox[2] * label.bbox[3], label.crowd)
            for label in picture.labels
        ]
        yield NewImage(picture.name, picture.path.read_bytes(), picture.size, boxes)
        report(f"copy {split}", done, len(found))
