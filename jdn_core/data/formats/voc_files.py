"""Which files make a dataset of PASCAL VOC: its annotations, the picture of each, and their splits.

An annotation belongs to the picture of its own name: that is how VOC ties ``000001.xml`` to ``000001.jpg``,
and what torchvision, MMDetection and Detectron2 go by. Its ``filename`` tag counts only where there is no
such picture, because tools that renumber files forget the tag.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from jdn_core.data import pictures
from jdn_core.data.browsing import SUFFIXES, browse, is_picture
from jdn_core.data.formats.source import SPLIT_NAMES, Findings, Location
from jdn_core.data.layouts import Split
from jdn_core.errors import InputMissing

ANNOTATIONS, IMAGES, LISTS = "Annotations", "JPEGImages", "ImageSets/Main"
_WANTED = "train.txt and val.txt, or trainval.txt and test.txt, or none of them"


class Album:
    """The pictures below a folder, found by the name of their annotation.

    Attributes:
        root: the folder that names start from.
    """

    def __init__(self, root: Path, names: Iterable[PurePath]) -> None:
        self.root = root
        self._at: dict[PurePath, list[PurePath]] = defaultdict(list)
        self._by_stem: dict[str, list[PurePath]] = defaultdict(list)
        for name in names:
            self._at[name.with_suffix("")].append(name)
            self._by_stem[name.stem].append(name)

    def find(self, annotation: PurePath, said: str) -> tuple[PurePath, bool]:
        """Returns the name of an annotation's picture, and whether the annotation says another one.

        Args:
            annotation: its place, as a picture's place would be.
            said: what it says; some tools leave the ending out.

        Raises:
            ValueError: there is no picture, or several fit, or what is said leads out of the folder.
        """
        found = self._at.get(annotation.with_suffix("")) or self._by_stem.get(annotation.stem, [])
        told = PurePath(said.replace("\\", "/")).name
        if len(found) > 1:
            found = [name for name in found if name.name == told] or found
        if len(found) == 1:
            stale = told not in (found[0].name, found[0].stem, "") and PurePath(told).stem != found[0].stem
            return found[0], stale
        if found:
            raise ValueError(f"several pictures have this name: {', '.join(map(str, found[:4]))}")
        if PurePath(said).suffix.lower() not in SUFFIXES:
            said = next((said + end for end in SUFFIXES if (self.root / (said + end)).is_file()), said)
        pictures.locate(self.root, said)
        return PurePath(said), False


@dataclass(frozen=True)
class VocFiles:
    """A dataset's files.

    Attributes:
        folder: of the annotations, below the dataset's.
        album: the pictures.
        splits: annotations below ``folder`` by split.
        rule: what told the splits apart.
    """

    folder: PurePath
    album: Album
    splits: Mapping[Split, Sequence[PurePath]]
    rule: str


def find_files(src: Path, findings: Findings) -> VocFiles:
    """Finds VOC's own folders, or XML files beside the pictures as labelling services export them.

    Raises:
        InputMissing: there is no annotation.
    """
    files = browse(src).files
    folder = PurePath(ANNOTATIONS) if (src / ANNOTATIONS).is_dir() else PurePath()
    images = PurePath(IMAGES) if (src / IMAGES).is_dir() else PurePath()
    below = [file.relative_to(folder) for file in files if file.is_relative_to(folder)]
    annotations = [file for file in below if file.suffix.lower() == ".xml"]
    if not annotations:
        raise InputMissing(f"{src}: no folder {ANNOTATIONS} there, and no XML file beside the pictures")
    shown = [file.relative_to(images) for file in files if file.is_relative_to(images) and is_picture(file)]
    for name in shown:
        findings.left_out[images / name] = "pictures without an annotation"
    by_lists = _by_lists(src, folder, annotations, findings)
    splits, rule = by_lists or _by_folders(folder, annotations, findings)
    return VocFiles(folder, Album(src / images, shown), splits, rule)


def name_in_split(name: PurePath, split: Split) -> str:
    """Returns a picture's name without the folder that says its split."""
    inside = len(name.parts) > 1 and SPLIT_NAMES.get(name.parts[0].lower()) == split
    return PurePath(*name.parts[1:]).as_posix() if inside else name.as_posix()


def _by_folders(
    folder: PurePath, annotations: Sequence[PurePath], findings: Findings
) -> tuple[dict[Split, list[PurePath]], str]:
    """Splits by folders called train and val, valid or test, where both kinds are there."""
    splits: dict[Split, list[PurePath]] = defaultdict(list)
    names: dict[Split, str] = {}
    rest = []
    for file in annotations:
        said = [part for part in file.parts[:-1] if part.lower() in SPLIT_NAMES][:1]
        for name in said:
            split = SPLIT_NAMES[name.lower()]
            splits[split].append(file)
            names[split] = name
        rest += [] if said else [file]
    if "train" not in splits or len(splits) == 1:
        return {"train": list(annotations)}, "no lists and no folders tell train from val"
    for file in rest:
        findings.left_out[folder / file] = "annotations outside the splits' folders"
    told = ", ".join(f"{split} = {name}" for split, name in sorted(names.items()))
    return dict(splits), f"{told} (folders)"


def _by_lists(
    src: Path, folder: PurePath, annotations: Sequence[PurePath], findings: Findings
) -> tuple[dict[Split, list[PurePath]], str] | None:
    """Splits by the lists in ``ImageSets/Main``; None where there are none."""
    there = {path.stem for path in (src / LISTS).glob("*.txt")} & {"train", "val", "trainval", "test"}
    lists: dict[Split, str]
    match "train" in there, "val" in there, "trainval" in there, "test" in there:
        case True, True, _, test:
            lists = {"train": "train", "val": "val"}
            if test:
                lists["test"] = "test"
        case False, False, True, True:
            lists = {"train": "trainval", "val": "test"}
        case _:
            if there:
                got = ", ".join(f"{name}.txt" for name in sorted(there))
                findings.add(Location(LISTS), f"must hold {_WANTED}", f"{got} alone")
            return None
    known = {file.with_suffix(""): file for file in annotations}
    splits = {split: _listed(src, folder, name, known, findings) for split, name in lists.items()}
    listed = {file for found in splits.values() for file in found}
    for file in annotations:
        if file not in listed:
            findings.left_out[folder / file] = f"annotations in no list of {LISTS}"
    told = ", ".join(f"{split} = {name}.txt" for split, name in lists.items())
    return splits, f"{told} of {LISTS}"


def _listed(
    src: Path, folder: PurePath, name: str, known: Mapping[PurePath, PurePath], findings: Findings
) -> list[PurePath]:
    """Returns the annotations that a list names, one a line, with or without a picture's ending."""
    file = PurePath(LISTS) / f"{name}.txt"
    findings.used.add(file)
    found = []
    for number, line in enumerate((src / file).read_text("utf-8-sig", "replace").splitlines(), start=1):
        said = PurePath(line.strip())
        if not said.name:
            continue
        bare = said.with_suffix("") if is_picture(said) else said
        if annotation := known.get(said) or known.get(bare):
            found.append(annotation)
            continue
        try:
            pictures.locate(src / folder, f"{said}.xml")
        except ValueError as error:
            location = Location(file.as_posix(), f"line {number}")
            findings.add(location, str(error), f"{said}.xml", "add the annotation, or remove its name")
    return found
