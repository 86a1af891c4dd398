"""A search's folder that was moved, renamed or copied: MLflow's database in it is pointed at where it is now.

MLflow keeps the absolute place of every run's files, and would go on writing to the old one. They are
changed in the database itself, because MLflow's client cannot.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from jdn_core.run.folder import Run
from tasks.tracking.pages import database, local_uri, tracking_uri

ARTIFACTS = "mlartifacts"
# Columns with places of files, in any table of MLflow 3: experiments, runs, models and their versions.
_PLACES = ("artifact_location", "artifact_uri", "source", "storage_location")
_WAIT = 10.0  # seconds for a database that another process is writing


def follow_folder(run: Run) -> None:
    """Makes the places that the database has for a search's files those inside its folder.

    A database that several searches share is changed only where the old place is gone.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    uri = tracking_uri(run)
    is_own = uri == local_uri(run.folder)
    _follow(
        uri,
        run.folder.resolve() / ARTIFACTS,
        lambda name, gone: name == run.settings.name and (is_own or gone),
    )


def follow_database(uri: str) -> None:
    """Does the same for a database alone: files that are gone from their old place are beside it, if any are.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    if file := database(uri):
        _follow(uri, file.resolve().parent / ARTIFACTS, lambda name, gone: gone)


def _follow(uri: str, now: Path, is_moved: Callable[[str, bool], bool]) -> None:
    """Moves experiments to ``now``; ``is_moved`` is asked with a name, and whether its old place is gone."""
    file = database(uri)
    if file is None or not file.is_file() or not now.is_dir():
        return
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=_WAIT)) as connection:
        if "experiments" not in _tables(connection):
            return
        for name, before in connection.execute("SELECT name, artifact_location FROM experiments").fetchall():
            if not str(before).endswith(f"/{ARTIFACTS}") or before == now.as_uri():
                continue
            if is_moved(name, not Path(unquote(urlsplit(before).path)).exists()):
                _move(connection, before, now.as_uri())


def _move(connection: sqlite3.Connection, before: str, now: str) -> None:
    """Replaces the beginning of every place, all at once or not at all."""
    with connection:
        for table in _tables(connection):
            columns = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
            for column in columns & {*_PLACES}:
                # Names come from the database's own catalogue; values are bound.
                connection.execute(
                    f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) '
                    f'WHERE "{column}" = ? OR substr("{column}", 1, ?) = ?',
                    (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )


def _tables(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
