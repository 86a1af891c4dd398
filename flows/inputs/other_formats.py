"""Datasets of YOLO and PASCAL VOC wherever a dataset is named: made COCO format once, and accounted for.

The copy lies below ``JDN_HOME``, under a name that says which files it was made of; so every command finds
it again, and files that change make another one.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import assert_never

from flows.console import say
from flows.inputs.folders import absolute, home, writable
from flows.inputs.yolo_file import read_yolo_file
from jdn_core.data.browsing import browse
from jdn_core.data.formats.conversion import Conversion, convert
from jdn_core.data.formats.source import Reader
from jdn_core.data.formats.voc import VocReader
from jdn_core.data.formats.yolo import YoloReader
from jdn_core.data.layouts import OTHER_FORMATS, OtherFormat, is_coco, other_format
from jdn_core.storage.canonical import content_key

CONVERTED = "converted"  # folder below the home of searches
_SUFFIXES = (".yaml", ".yml")


def in_coco(named: Path, *, drop_bad_boxes: bool = False) -> Path:
    """Returns the folder of a dataset in COCO format: as named, or what was made of another format.

    What is neither is returned too: whoever reads it says what was looked for.

    Args:
        named: a dataset's folder, or the ``data.yaml`` of one.
        drop_bad_boxes: leave unusable boxes out of what is made.

    Raises:
        DataError: a dataset of another format breaks rules; all of them are named.
        InputMissing: one of its folders is not there.
        StorageError: there is no room for the copy.
    """
    is_description = named.suffix in _SUFFIXES and named.is_file()
    if not is_description and (not named.is_dir() or is_coco(named)):
        _tell_of_two(named)
        return named
    if (kind := "yolo" if is_description else other_format(named)) is None:
        return named
    source, reader = reader_of(kind, named, seed=0)
    files = [(name.as_posix(), (source / name).stat()) for name in browse(source).files]
    key = content_key(
        {
            "source": str(absolute(named)),
            "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files],
            "drop_bad_boxes": drop_bad_boxes,
        }
    )
    folder = home() / CONVERTED / f"{absolute(source).name}-{key[:16]}"
    if folder.is_dir():
        say(f"data: {named}: {OTHER_FORMATS[kind]}, made COCO format before in {folder}")
        return folder
    writable(folder.parent)
    made = convert(source, folder, reader, drop_bad_boxes=drop_bad_boxes)
    say(f"data: {named}: {OTHER_FORMATS[kind]}, {_account(made)}; made COCO format in {folder}")
    return folder


def _tell_of_two(named: Path) -> None:
    """Says which format is taken where a folder has two; a choice that nobody sees is a surprise later."""
    if named.is_dir() and (other := other_format(named)):
        takes = f"`jdn data convert {other} {named} DST` makes a dataset of the other"
        say(f"data: {named}: COCO format and {OTHER_FORMATS[other]} lie there; COCO format is taken, {takes}")


def reader_of(
    kind: OtherFormat,
    named: Path,
    *,
    seed: int,
    difficult_as_crowd: bool = False,
    one_based: bool = False,
) -> tuple[Path, Reader]:
    """Returns the folder that a dataset's files lie in, and what reads them.

    Args:
        kind: the format.
        named: the dataset's folder, or the description of one of YOLO.
        seed: draws a fifth for validation where nothing says what it is.
        difficult_as_crowd: see ``VocReader``.
        one_based: see ``VocReader``.

    Raises:
        InputMissing: there is no description.
        DataError: it breaks rules.
    """
    match kind:
        case "voc":
            return named, VocReader(seed, difficult_as_crowd, one_based)
        case "yolo":
            said = read_yolo_file(named)
            inside = said.file.is_relative_to(said.root)
            description = said.file.relative_to(said.root) if inside else None
            return said.root, YoloReader(said.names, said.splits, seed, description, said.rule)
        case _:
            assert_never(kind)


def _account(made: Conversion) -> str:
    """Says what told the splits apart, how many files were used, and why the others were not."""
    splits = ", ".join(
        f"{made.counts[name]} {name}" for name in ("train", "val", "test") if name in made.counts
    )
    told = f"{made.rule}: {splits}, {made.used} of {made.used + len(made.left_out)} files used"
    reasons = Counter(made.left_out.values())
    left_out = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"{told}, left out: {left_out}" if left_out else told
