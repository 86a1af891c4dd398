"""A search's memory: a grow-only set of immutable pair records, one folder each (RELIABILITY, rule 4)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from jdn_core.errors import Problem, StorageError
from jdn_core.faults import Point, faultpoint
from jdn_core.search import latencies
from jdn_core.search.latencies import Latency
from jdn_core.search.pairs import PairRecord
from jdn_core.storage import durable, seals

R = TypeVar("R")
RECORD_FILE = "pair.json"
_KEY = re.compile(r"[0-9a-f]{64}")


class Records:
    """The records below ``folder``, as ``pairs/KEY/pair.json`` beside the files whose hashes it holds.

    Args:
        folder: of the search; ``pairs`` inside it is made at the first commit.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pairs = folder / "pairs"
        self._read: dict[str, PairRecord] = {}  # records never change, so each is read once, with its facts
        self._listed: tuple[dict[str, PairRecord], tuple[PairRecord, ...]] = {}, ()

    def __reduce__(self) -> tuple[type[Records], tuple[Path]]:
        """Another process reads for itself."""
        return Records, (self._folder,)

    def path(self, key: str) -> Path:
        """Returns where the record of a pair is, or would be."""
        return self._pairs / key

    def all(self) -> tuple[PairRecord, ...]:
        """Reads every whole record, by index; what is not whole is left out, and ``problems`` tells of it."""
        whole = {key: record for key in self._keys() if (record := self.get(key))}
        before, listed = self._listed
        if whole.keys() != before.keys():
            listed = tuple(whole[key] for key in sorted(whole, key=lambda key: (whole[key].pair.index, key)))
            self._listed = whole, listed
        return listed

    def get(self, key: str) -> PairRecord | None:
        """Returns the record of a pair, or none where there is no whole one."""
        if key not in self._read:
            try:
                self._read[key] = self._load(key)
            except (FileNotFoundError, StorageError):
                return None
        return self._read[key]

    def problems(self) -> tuple[Problem, ...]:
        """Returns one problem for each record that is not whole."""
        found: list[Problem] = []
        for key in sorted(self._keys()):
            try:
                self._load(key)
            except (FileNotFoundError, StorageError) as error:
                found.append(Problem(f"pairs/{key}", RECORD_FILE, "is not a whole record", str(error)))
        return tuple(found)

    def staging(self, key: str) -> Path:
        """Returns a new, empty folder to fill with a pair's files and to hand to ``commit``."""
        return durable.stage_folder(self.path(key))

    def commit(self, record: PairRecord, staged: Path) -> bool:
        """Makes a staged folder the record of its pair; the first one of a key wins.

        The hashes of all files in the folder become ``record.files``, and ``pair.json`` is written last.

        Returns:
            Whether this record is the one that is kept.

        Raises:
            StorageError: the disk is full or broken; nothing was committed.
        """
        key = record.pair.key
        record = replace(record, files=hashes_of(staged))
        faultpoint(Point.COMMIT_HASHED)
        durable.write_json(staged / RECORD_FILE, record.to_json(), indent=None, seal=True)
        faultpoint(Point.COMMIT_RECORD)
        if self.path(key).exists() and self.get(key) is None:
            durable.set_aside(self.path(key))
        kept = durable.commit_folder(staged, self.path(key))
        faultpoint(Point.COMMIT_DONE)
        return kept

    def note_latency(self, key: str, target: str, found: Latency) -> PairRecord:
        """Keeps what a target measured of a pair's student beside its record; gives the record with it.

        The first fact of a target stays: what followed from it must follow again.

        Raises:
            KeyError: there is no record of the pair.
            StorageError: the disk is full or broken.
        """
        if self.get(key) is None:
            raise KeyError(key)
        latencies.note(self.path(key), target, found)
        self._listed = {}, ()
        self._read[key] = self._load(key)
        return self._read[key]

    def _keys(self) -> list[str]:
        if not self._pairs.is_dir():
            return []
        return [*filter(_KEY.fullmatch, os.listdir(self._pairs))]

    def _load(self, key: str) -> PairRecord:
        """Reads a record; raises StorageError where it is damaged, or that of another pair."""
        record = read_record(self._pairs / key)
        if record.pair.key != key:
            path = self._pairs / key / RECORD_FILE
            raise StorageError(f"{path}: the key must be {key}, got {record.pair.key}")
        if record.evaluation is None:
            return record
        return replace(record, evaluation=latencies.with_facts(record.evaluation, self.path(key)))


def read_record(folder: Path) -> PairRecord:
    """Reads the record in a pair's folder, wherever that lies.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it is damaged.
        FormatError: another version wrote it.
    """

    def parsed(data: Mapping[str, Any]) -> PairRecord:
        record = PairRecord.from_json(data)
        # The seal vouches for the key; computing it would take a third of the time that reading does.
        vars(record.pair)["key"] = data["key"]
        return record

    return read_sealed(folder / RECORD_FILE, parsed)


def read_sealed(path: Path, parse: Callable[[Mapping[str, Any]], R]) -> R:
    """Reads a record of any kind; ``parse`` may raise what broken data makes it raise.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it is damaged.
        FormatError: another version wrote it.
    """
    try:
        sealed = seals.unsealed(durable.read_bytes(path))
        if sealed is None:
            raise ValueError("it has no seal")
        return parse(json.loads(sealed))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not a record: {error!r}") from error


def hashes_of(folder: Path) -> dict[str, str]:
    """Returns name -> SHA-256 of every file in a folder, for the record that is written last."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): durable.sha256_of(path) for path in paths}
