"""What a case may do to its own process: lose the power when it is killed, or switch a rule off to be caught.

The rules that are switched off are those of RELIABILITY: the suite has to turn red without them. Nothing here
is undone, for a case's process ends.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from jdn_core.faults import Point, faultpoint
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import RECORD_FILE, Records
from jdn_core.storage import durable
from jdn_core.training.randomness import Stream

if TYPE_CHECKING:
    from _typeshed import HasFileno

_OTHERS = ("mlflow.db", "mlartifacts", durable.LOCK_FILE)  # MLflow's own, and a file that holds nothing


def lose_power_when_killed(folder: Path) -> None:
    """Lets SIGKILL take what was written below the folder and not flushed to the disk, as power does."""
    flushed = {_version(path) for path in _files(folder)}
    flush, raise_signal = os.fsync, signal.raise_signal

    def fsync(fd: int | HasFileno) -> None:
        flush(fd)
        flushed.add(_version(fd if isinstance(fd, int) else fd.fileno()))

    def kill(number: int, /) -> None:
        if number == signal.SIGKILL:
            for path in _files(folder):
                if _version(path) not in flushed:
                    os.truncate(path, 0)
        raise_signal(number)

    os.fsync = fsync
    signal.raise_signal = kill


def without_fsync() -> None:
    """Nothing is flushed."""
    os.fsync = lambda fd: None


def without_commit_order() -> None:
    """A record is there before its files."""

    def commit(records: Records, record: PairRecord, staged: Path) -> bool:
        final = records.path(record.pair.key)
        hashes = {path.name: durable.sha256_of(path) for path in staged.iterdir()}
        final.mkdir(parents=True)
        durable.write_json(
            final / RECORD_FILE, replace(record, files=hashes).to_json(), indent=None, seal=True
        )
        faultpoint(Point.COMMIT_RECORD)
        for path in staged.iterdir():
            path.rename(final / path.name)
        shutil.rmtree(staged)
        return True

    Records.commit = commit  # type: ignore[assignment,method-assign]


def without_counted_randomness() -> None:
    """Draws depend on how many there were before, as those of a generator do."""
    drawn = count()
    Stream.seed = property(lambda _: next(drawn))  # type: ignore[assignment,method-assign]


CONTROLS: dict[str, Callable[[], None]] = {
    "fsync": without_fsync,
    "commit order": without_commit_order,
    "counted randomness": without_counted_randomness,
}


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(_OTHERS) for part in path.relative_to(folder).parts)
    ]


def _version(file: Path | int) -> tuple[int, int, int]:
    """What a flush was of: the file, and when and how far it was written."""
    found = os.stat(file)
    return found.st_ino, found.st_size, found.st_mtime_ns
