"""A YOLO dataset's own description, ``data.yaml``, read as strictly as settings are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from flows.inputs.yaml_file import read_file, read_mapping
from jdn_core.errors import DataError, InputMissing, Problem, SettingsError


@dataclass(frozen=True)
class YoloFile:
    """Where a dataset lies and what its classes are called.

    Attributes:
        root: the folder that ``train`` and ``val`` start from.
        names: of the classes 0, 1, 2, ...
        train: folder of the training pictures.
        val: folder of the validation pictures, if it has one.
    """

    root: Path
    names: tuple[str, ...]
    train: str
    val: str | None


def read_yolo_file(src: Path) -> YoloFile:
    """Reads ``data.yaml`` in a dataset's folder, or a file of that kind under its own name.

    Its ``path`` counts only as a folder below that file, for else it says where the data lay on the machine
    of whoever wrote it. Folders that begin with ``../`` are looked for here, as Ultralytics does for the
    exports that write them so.

    Raises:
        InputMissing: there is no such file.
        DataError: it breaks rules; all of them are named.
    """
    file = src / "data.yaml" if src.is_dir() else src
    if not file.is_file():
        raise InputMissing(f"{file}: no such file; it names the folders train and val, and the classes")
    try:
        data = read_mapping(read_file(file), file.name, numbered=True)
    except SettingsError as error:
        remedy = "see the description of YOLO's data.yaml"
        raise DataError.of([replace(problem, remedy=remedy) for problem in error.problems]) from None
    problems: list[Problem] = []
    names = _names(data, file.name, problems)
    train = _folder(data, "train", file.name, problems)
    val = _folder(data, "val", file.name, problems) if data.get("val") is not None else None
    if "kpt_shape" in data:
        what = "labels of poses are not converted, only boxes and polygons"
        problems.append(Problem(file.name, "kpt_shape", what, repr(data["kpt_shape"])))
    if problems:
        raise DataError.of(problems)
    return YoloFile(_root(file.parent, data.get("path")), names, train, val)


def _names(data: Mapping[str, Any], file: str, problems: list[Problem]) -> tuple[str, ...]:
    given = data.get("names")
    names = given
    if isinstance(given, dict):
        if set(given) != set(range(len(given))):
            what = "must number the classes 0, 1, 2, ..."
            problems.append(Problem(file, "names", what, ", ".join(map(str, given))[:60]))
            return ()
        names = [given[number] for number in range(len(given))]
    if not isinstance(names, list) or not names:
        problems.append(Problem(file, "names", "must list the names of the classes", repr(given)))
        return ()
    for number, name in enumerate(names):
        if not isinstance(name, str | int) or isinstance(name, bool):
            remedy = "put it in quotes"
            problems.append(Problem(file, f"names.{number}", "must be a text", repr(name), remedy))
    if data.get("nc", len(names)) != len(names):
        what = f"must be the number of names, {len(names)}"
        problems.append(Problem(file, "nc", what, repr(data["nc"])))
    return tuple(map(str, names))


def _folder(data: Mapping[str, Any], key: str, file: str, problems: list[Problem]) -> str:
    value = data.get(key)
    if isinstance(value, str) and value and PurePath(value).suffix != ".txt":
        return value.removeprefix("../")
    what = "must be one folder of pictures"
    remedy = "put the pictures in one folder, their labels beside it"
    problems.append(Problem(file, key, what, "nothing" if value is None else repr(value), remedy))
    return ""


def _root(here: Path, path: object) -> Path:
    if isinstance(path, str) and not PurePath(path).is_absolute() and ".." not in PurePath(path).parts:
        return here / path if (here / path).is_dir() else here
    return here
