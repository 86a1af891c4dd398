"""Folders as users name them: absolute, writable, and where searches lie that were begun without one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jdn_core.errors import StorageError
from jdn_core.run.file_names import SETTINGS_FILE

HOME, DATA_ROOT = "JDN_HOME", "JDN_DATA_ROOT"  # variables of the environment


def home() -> Path:
    """Returns where searches lie that were started without a folder: ``JDN_HOME``, else ``~/jdn``."""
    return absolute(Path(os.environ.get(HOME) or "~/jdn"))


def absolute(path: Path) -> Path:
    """Returns the path without links, ``..`` and ``~``.

    Unlike ``Path.resolve`` and ``Path.expanduser`` it raises for no name: a loop of links, or the home of a
    user that is not there, is a path that leads nowhere.
    """
    return Path(os.path.realpath(os.path.expanduser(path)))


def at_home(folder: str) -> Path:
    """Returns a folder as a form names it; a relative one that is not here lies in ``home()``.

    A worker's own directory lasts no longer than a run.
    """
    path = Path(os.path.expanduser(folder))
    return absolute(path if path.exists() else home() / path)


def writable(folder: Path) -> Path:
    """Makes the folder if need be; returns its absolute path.

    Raises:
        StorageError: nothing can be written there.
    """
    folder = absolute(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from error


def is_search(folder: Path) -> bool:
    """Checks whether a folder holds a run's settings."""
    return (folder / SETTINGS_FILE).is_file()
