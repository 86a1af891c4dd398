"""Pictures that occur in two splits: what is trained on and then measured on flatters a detector."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

_TAIL = 4096  # bytes that are compared before a whole file is read; pictures rarely share their last ones
_NAMED = 3


def shared_pictures(train: Sequence[Path], val: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Returns pairs (train, val) of files with the same bytes, in the order of val."""
    sizes = {path.stat().st_size for path in val}
    by_tail: dict[tuple[int, bytes], list[Path]] = {}
    for path in train:
        if (size := path.stat().st_size) in sizes:
            by_tail.setdefault((size, _tail(path, size)), []).append(path)
    found = []
    for path in val:
        size = path.stat().st_size
        alike = by_tail.get((size, _tail(path, size)), []) if by_tail else []
        found += [(other, path) for other in alike[:1] if _digest(other) == _digest(path)]
    return found


def shared_note(train: Sequence[Path], val: Sequence[Path]) -> list[str]:
    """Says which pictures are in both splits, the first few by name; empty where none are."""
    twins = shared_pictures(train, val)
    if not twins:
        return []
    named = ", ".join(
        one.name if one.name == other.name else f"{one.name} = {other.name}" for one, other in twins[:_NAMED]
    )
    more = ", ..." if len(twins) > _NAMED else ""
    return [f"WARNING: {len(twins)} pictures are in train and in val, so AP on val flatters: {named}{more}"]


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL), os.SEEK_SET)
        return file.read()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
