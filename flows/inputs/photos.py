"""The pictures that a user names, one by one or by their folder, and where each one's drawing goes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jdn_core.data.browsing import browse, is_picture
from jdn_core.errors import InputMissing, UsageError


class Named(NamedTuple):
    """Pictures in the order in which they were named, each once, and what was passed over in folders."""

    pictures: list[Path]
    hidden: int
    others: int


def named(paths: Sequence[Path]) -> Named:
    """Returns the pictures that are meant: a folder stands for those in it, at any depth.

    Raises:
        InputMissing: something is not there, or a folder holds no picture.
    """
    found: dict[str, Path] = {}
    missing, hidden, others = [], 0, 0
    for path in paths:
        if os.path.isdir(path):  # pathlib does not forgive names that are too long
            inside = browse(path)
            pictures = [path / name for name in inside.files if is_picture(name)]
            hidden, others = hidden + len(inside.hidden), others + len(inside.files) - len(pictures)
            missing += [] if pictures else [f"{path}: a folder without a picture"]
        else:
            pictures = [path]
            missing += [] if os.path.isfile(path) else [f"{path}: no such picture"]
        for picture in pictures:
            found.setdefault(os.path.realpath(picture), picture)
    if missing:
        raise InputMissing("\n".join(missing))
    return Named(list(found.values()), hidden, others)


def drawings(paths: Sequence[Path], out: Path) -> list[Path]:
    """Returns where each picture's drawing goes below ``out``: ``street.jpg`` becomes ``street.boxes.png``.

    Where names clash, the pictures' endings stay in them, and then their folders too; letters count as the
    same in either case, as some file systems have it.

    Raises:
        UsageError: one of these places is one of the pictures.
    """
    absolute = [os.path.abspath(path) for path in paths]
    common = os.path.dirname(absolute[0]) if len(absolute) == 1 else os.path.commonpath(absolute or ["."])
    ways: tuple[Callable[[str], str], ...] = (
        lambda path: Path(path).stem,
        lambda path: Path(path).name,
        lambda path: os.path.relpath(path, common),
    )
    targets: list[Path] = []
    for way in ways:
        targets = [out / f"{way(path)}.boxes.png" for path in absolute]
        if max(Counter(str(target).casefold() for target in targets).values(), default=0) < 2:
            break
    inputs = {os.path.realpath(path) for path in paths}
    for path, target in zip(paths, targets, strict=True):
        if os.path.realpath(target) in inputs:
            raise UsageError(f"{target}: the drawing of {path} would overwrite it; name another --out")
    return targets
