"""A YOLO dataset's own description, ``data.yaml``, read as strictly as settings are.

Every value is taken as it is written: a class 0012 or ``no`` is called that, and ``'0'`` is the class 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from flows.inputs.yaml_file import read_file, read_mapping
from jdn_core.data.layouts import YOLO_FILES, Split
from jdn_core.errors import DataError, InputMissing, Problem, SettingsError

# Ultralytics' own name first; FiftyOne writes ``validation``, and some exports ``valid``.
_KEYS: Mapping[str, Split] = {
    "train": "train",
    "val": "val",
    "validation": "val",
    "valid": "val",
    "test": "test",
}
# Where exporters and tutorials put pictures; ``{}`` stands for the split, whose names are those of the keys.
_FOLDERS = ("{}/images", "images/{}", "{}")
_OTHER_KEYS = ("path", "names", "nc")


@dataclass(frozen=True)
class YoloFile:
    """Where a dataset lies and what its classes are called.

    Attributes:
        root: the folder that ``splits`` start from.
        file: the description.
        names: of the classes 0, 1, 2, ...
        splits: folders of pictures, or text files that list them, by split; train is one of them.
        rule: what told the splits apart.
    """

    root: Path
    file: Path
    names: tuple[str, ...]
    splits: Mapping[Split, tuple[str, ...]]
    rule: str


def find_yolo_file(src: Path) -> Path | None:
    """Returns the description in a dataset's folder; None where there is none."""
    return next((src / name for name in YOLO_FILES if (src / name).is_file()), None)


def read_yolo_file(src: Path) -> YoloFile:
    """Reads ``data.yaml`` in a dataset's folder, or a file of that kind under its own name.

    Its ``path`` counts only as a folder below that file, for else it says where the data lay on the machine
    of whoever wrote it. Folders that begin with ``../`` are looked for here, as Ultralytics does for the
    exports that write them so, and absolute ones that lie here are taken. Where no split is named, the usual
    folders are.

    Raises:
        InputMissing: there is no such file.
        DataError: it breaks rules; all of them are named.
    """
    file = (find_yolo_file(src) or src / YOLO_FILES[0]) if src.is_dir() else src
    if not file.is_file():
        raise InputMissing(f"{file}: no such file; it names the folders train and val, and the classes")
    try:
        data = read_mapping(read_file(file), file.name, as_text=True)
    except SettingsError as error:
        remedy = "see the description of YOLO's data.yaml"
        raise DataError.of([replace(problem, remedy=remedy) for problem in error.problems]) from None
    problems: list[Problem] = []
    names = _names(data, file.name, problems)
    root = _root(file.parent, data.get("path"))
    splits, rule = _splits(data, file.name, root, problems)
    if "kpt_shape" in data:
        what = "labels of poses are not converted, only boxes and polygons"
        problems.append(Problem(file.name, "kpt_shape", what, repr(data["kpt_shape"])))
    if problems:
        raise DataError.of(problems)
    return YoloFile(root, file, names, splits, rule)


def _names(data: Mapping[str, Any], file: str, problems: list[Problem]) -> tuple[str, ...]:
    given = data.get("names")
    names = given
    if isinstance(given, dict):
        if set(given) != {str(number) for number in range(len(given))}:
            what = "must number the classes 0, 1, 2, ..."
            problems.append(Problem(file, "names", what, ", ".join(map(str, given))[:60]))
            return ()
        names = [given[str(number)] for number in range(len(given))]
    if not isinstance(names, list) or not names:
        problems.append(Problem(file, "names", "must list the names of the classes", repr(given)))
        return ()
    for number, name in enumerate(names):
        if not isinstance(name, str):
            remedy = "put it in quotes"
            problems.append(Problem(file, f"names.{number}", "must be a text", repr(name), remedy))
    if data.get("nc", str(len(names))) != str(len(names)):
        what = f"must be the number of names, {len(names)}"
        problems.append(Problem(file, "nc", what, str(data["nc"])))
    return tuple(map(str, names))


def _splits(
    data: Mapping[str, Any], file: str, root: Path, problems: list[Problem]
) -> tuple[dict[Split, tuple[str, ...]], str]:
    splits: dict[Split, tuple[str, ...]] = {}
    told = []
    for key in (key for key in _KEYS if data.get(key) is not None):
        split, before = _KEYS[key], len(problems)
        found = _folders(data[key], key, file, root, problems)
        if splits.get(split, found) != found:
            problems.append(
                Problem(file, key, f"must agree with the other folder of {split}", repr(data[key]))
            )
        elif (
            split == "test" and len(problems) == before and not all((root / name).exists() for name in found)
        ):
            told.append("test is named and not there")
        elif split not in splits:
            splits[split] = found
            told.append(f"{split} = {', '.join(found)}")
    for key, value in data.items():
        strange = key not in (*_KEYS, *_OTHER_KEYS)
        if strange and isinstance(value, str) and value and (root / value.removeprefix("../")).is_dir():
            problems.append(
                Problem(file, key, "is no split that is known", repr(value), "name it val or test")
            )
    if splits.keys() - {"test"}:
        if "train" not in splits:
            problems.append(Problem(file, "train", "must name the training pictures", "nothing"))
        return splits, f"{', '.join(told)} ({file})"
    return _usual_folders(file, root, problems)


def _usual_folders(
    file: str, root: Path, problems: list[Problem]
) -> tuple[dict[Split, tuple[str, ...]], str]:
    """Finds the folders that are in wide use; the first way that has train counts."""
    for folder in _FOLDERS:
        found: dict[Split, tuple[str, ...]] = {}
        for key, split in _KEYS.items():
            if (root / folder.format(key)).is_dir():
                found.setdefault(split, (folder.format(key),))
        if "train" in found:
            told = ", ".join(f"{split} = {folders[0]}" for split, folders in found.items())
            return found, f"{told} (the usual folders; {file} names none)"
    if (root / "images").is_dir():
        return {"train": ("images",)}, f"images alone ({file} names no split)"
    remedy = "name the folder of the training pictures, below the dataset's"
    problems.append(Problem(file, "train", "must name the training pictures", "nothing", remedy))
    return {}, ""


def _folders(value: object, key: str, file: str, root: Path, problems: list[Problem]) -> tuple[str, ...]:
    """Returns the folders or lists of pictures that a key names, below the dataset's folder."""
    given: list[Any] = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(each, str) and each for each in given):
        what = "must be a folder of pictures, a text file that lists them, or a list of these"
        problems.append(Problem(file, key, what, repr(value)))
        return ()
    return tuple(_below(root, each) for each in given)


def _below(root: Path, name: str) -> str:
    path = PurePath(name)
    if path.is_absolute() and path.is_relative_to(root.resolve()):
        return path.relative_to(root.resolve()).as_posix()
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        return path.relative_to(root.absolute()).as_posix()
    return name if path.is_absolute() else PurePath(name.removeprefix("../")).as_posix()


def _root(here: Path, path: object) -> Path:
    if isinstance(path, str) and not PurePath(path).is_absolute() and ".." not in PurePath(path).parts:
        return here / path if (here / path).is_dir() else here
    return here
