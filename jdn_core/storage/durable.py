"""Atomic, checksummed files: the only writer of state (RELIABILITY, rules 4, 7 and 8).

A file is whole or not there: it is written beside its place, flushed to the disk and renamed. What a crash
leaves behind has a name that ``clean_leftovers`` knows.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jdn_core.errors import CheckpointError, OwnedByAnother, StorageError
from jdn_core.faults import Point, faultpoint
from jdn_core.storage import seals
from jdn_core.storage.canonical import canonical_json
from jdn_core.storage.schemas import require_schema

LOCK_FILE = "owner.lock"
_SUFFIX = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
_CHUNK = 1 << 20
_BLOCK = 4096  # bytes that a folder takes


@dataclass(frozen=True)
class Written:
    """What is now on the disk: the SHA-256 in hexadecimal, and the size."""

    sha256: str
    bytes: int


def write_bytes(path: Path, data: bytes) -> Written:
    """Puts a file in its place, replacing what was there; its folder must exist.

    Raises:
        StorageError: the disk is full or broken; the old file is as it was, or the new one is whole.
    """
    with _storage(path, needed=len(data)), ThreadPoolExecutor(1) as beside:
        digest = beside.submit(hashlib.sha256, data)  # while the disk is busy: 0.1 s of 160 MB
        part = _beside(path)
        try:
            with part.open("xb") as file:
                faultpoint(Point.DURABLE_WRITE)
                file.write(data)
                file.flush()
                faultpoint(Point.DURABLE_FSYNC)
                os.fsync(file.fileno())
            faultpoint(Point.DURABLE_RENAME)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        faultpoint(Point.DURABLE_RENAMED)
        _sync(path.parent)
        return Written(digest.result().hexdigest(), len(data))


def write_text(path: Path, text: str) -> Written:
    """Writes UTF-8 as ``write_bytes`` does."""
    return write_bytes(path, text.encode())


def append_text(path: Path, text: str) -> None:
    """Adds UTF-8 at the end of a file, which is made if need be; its folder must exist.

    A crash may leave a part of the text: the reader has to see that for itself.

    Raises:
        StorageError: the disk is full or broken; a part of the text may be there.
    """
    data = text.encode()
    with _storage(path, needed=len(data)), path.open("ab") as file:
        faultpoint(Point.DURABLE_WRITE)
        file.write(data)
        file.flush()
        faultpoint(Point.DURABLE_FSYNC)
        os.fsync(file.fileno())


def write_json(
    path: Path, value: object, *, schema: int | None = None, indent: int | None = 2, seal: bool = False
) -> Written:
    """Writes JSON as ``write_bytes`` does, with sorted keys; without ``indent`` it is the canonical form.

    Args:
        path: the file.
        value: what ``json`` knows how to write; with ``schema`` a mapping.
        schema: number of the file's format, written as one more member.
        indent: spaces a level.
        seal: whether the last member, ``sha256``, vouches for the text before it.

    Raises:
        ValueError: the value holds a NaN or an infinity.
        StorageError: as ``write_bytes`` does.
    """
    text = canonical_json(value if schema is None else _with_schema(value, schema))
    if indent is not None:
        text = json.dumps(json.loads(text), indent=indent, ensure_ascii=False, sort_keys=True)
    return write_text(path, (seals.sealed(text) if seal else text) + "\n")


def read_json(path: Path, *, schema: int | None = None) -> Any:
    """Returns the value that a file of ours holds, without its seal and its schema.

    What has no seal must be strict JSON, without NaN and without a key twice in one object.

    Args:
        path: the file.
        schema: number that the file must have; none: it is not looked at.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the file cannot be read, or is not what ``write_json`` writes.
        FormatError: the file has another schema.
    """
    data = read_bytes(path)
    try:
        sealed = seals.unsealed(data)
        if sealed is not None:
            value = json.loads(sealed)
        else:
            value = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path}: not valid JSON: {error}") from error
    if schema is not None:
        if not isinstance(value, dict):
            raise StorageError(f"{path}: must hold an object of JSON")
        require_schema(value, schema, path)
        del value["schema"]
    return value


def read_bytes(path: Path) -> bytes:
    """Returns a file's content, as it is.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the file cannot be read.
    """
    with _storage(path), path.open("rb", buffering=0) as file:
        return file.readall()


def sha256_of(path: Path) -> str:
    """Computes SHA-256 of a file's content, read in pieces.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the file cannot be read.
    """
    with _storage(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_verified(path: Path, sha256: str) -> bytes:
    """Returns a file's content, if it is what was written.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the content has another hash.
        StorageError: the file cannot be read.
    """
    data = read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CheckpointError(f"{path}: damaged: SHA-256 must be {sha256}, got {found} of {len(data)} bytes")
    return data


def stage_folder(final: Path) -> Path:
    """Returns a new, empty folder beside ``final``, to be filled and then committed to its place."""
    with _storage(final, needed=_BLOCK):
        staged = _beside(final)
        staged.mkdir(parents=True)
        faultpoint(Point.DURABLE_STAGE)
    return staged


def commit_folder(staged: Path, final: Path) -> bool:
    """Puts a complete folder in its place, if that is free: the first one wins, the other is dropped.

    Returns:
        Whether this folder is the one that is now in place.

    Raises:
        StorageError: the disk is full or broken; nothing is in place that was not before, or all of it.
    """
    paths = sorted(staged.rglob("*"))
    with _storage(final, needed=sum(path.stat().st_size for path in paths)):
        for path in paths:
            _sync(path)
        _sync(staged)
        faultpoint(Point.DURABLE_FOLDER)
        try:
            staged.rename(final)
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            shutil.rmtree(staged)
            return False
        faultpoint(Point.DURABLE_COMMITTED)
        _sync(final.parent)
        return True


def set_aside(path: Path) -> Path:
    """Frees a name without losing what has it, and says what it is called now."""
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    with _storage(path):
        path.rename(aside)
        _sync(path.parent)
    return aside


def clean_leftovers(folder: Path) -> tuple[Path, ...]:
    """Removes what writes that were cut short have left anywhere below, and says what it was.

    Only the owner of the folder may call it: another process's unfinished write looks the same.
    """
    found = tuple(sorted(folder.rglob(f".*{_SUFFIX}"), reverse=True))
    for path in found:
        with _storage(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    faultpoint(Point.RESUME_CLEANED)
    return found


@contextmanager
def own(folder: Path) -> Iterator[None]:
    """Holds a search's folder for this process; the lock ends with the process, however it ends.

    Raises:
        OwnedByAnother: at once, naming the process that holds it.
    """
    with _storage(folder):
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, _CHUNK, 0).decode() or "another process"
            raise OwnedByAnother(f"search {folder.resolve().name} is owned by {owner}") from None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        owner = f"pid {os.getpid()} on {socket.gethostname()} since {since}"
        with _storage(folder / LOCK_FILE, needed=len(owner)):
            os.ftruncate(lock, 0)
            os.pwrite(lock, owner.encode(), 0)
        faultpoint(Point.RESUME_OPENED)
        yield
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def free_bytes(path: Path) -> int:
    """Returns room on the disk that a path, whether or not it is there, is on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _beside(path: Path) -> Path:
    """Returns a free name in the same folder, so that a rename stays on one disk."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")


def _sync(path: Path) -> None:
    """Makes a file's content, or the names in a folder, outlive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _storage(path: Path, *, needed: int = 0) -> Iterator[None]:
    """Turns a failure of the disk into an error that says what to mend; a missing file stays what it is."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        room = ""
        if error.errno in _FULL:
            room = f": needed {needed} bytes, free {free_bytes(path)}"
        raise StorageError(f"{path}: {error.strerror}{room}") from error


def _with_schema(value: object, schema: int) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"only a mapping has room for a schema, got {type(value).__name__}")
    return {"schema": schema, **value}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} occurs twice in one object")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")
