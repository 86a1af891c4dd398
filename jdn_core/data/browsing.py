"""What lies in a folder: its files by name, apart from those that file systems and desktops put there."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import NamedTuple

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# Finder's ``._photo.jpg`` looks like a picture and is none; ``@eaDir`` holds a NAS's small copies.
_HIDDEN = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found", "$recycle.bin"})


class Inside(NamedTuple):
    """Files below a folder, relative to it and sorted: those that count, and those that are hidden."""

    files: tuple[PurePath, ...]
    hidden: tuple[PurePath, ...]


def browse(folder: Path) -> Inside:
    """Lists a folder at any depth; links to folders are followed, each once, for some lead in circles."""
    files: list[PurePath] = []
    hidden: list[PurePath] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        inner = PurePath(os.path.relpath(parent, folder))
        for name in names:
            path = inner / name
            (hidden if is_hidden(path) else files).append(path)
    return Inside(tuple(sorted(files)), tuple(sorted(hidden)))


def is_hidden(path: PurePath) -> bool:
    """Returns whether a file, or a folder on the way to it, was put there by a file system or a desktop."""
    return any(part.startswith(".") or part.lower() in _HIDDEN for part in path.parts)


def is_picture(path: PurePath) -> bool:
    """Returns whether a file's name ends like one of a format that is read."""
    return path.suffix.lower() in SUFFIXES
