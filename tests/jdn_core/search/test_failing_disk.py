"""A disk that fails at its first, second, third ... call: nothing is lost, and the search goes on."""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from jdn_core import faults
from jdn_core.errors import StorageError
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import Records
from jdn_core.storage import durable
from tests import results
from tests.jdn_core.search.worlds import MEMORY, evaluate, start

PAIRS = 3
CALLS = ("mkdir", "fsync", "replace", "rename")
NOTE = "note.json"


class Disk:
    """The system's calls that change a disk, in this process; from one of them on, all of them fail.

    Args:
        fails_at: the first call that fails, counted from 1.
        number: of the error.
    """

    def __init__(self, patch: pytest.MonkeyPatch, fails_at: int, number: int) -> None:
        self._left, self._number = fails_at, number
        for name in CALLS:
            patch.setattr(os, name, self._watched(getattr(os, name)))
        patch.setattr(faults, "_armed", {})
        faults.watch(lambda point: self._fail_in_turn() if point is faults.Point.DURABLE_WRITE else None)

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self._fail_in_turn()
            return call(*arguments, **options)

        return watched

    def _fail_in_turn(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise OSError(self._number, os.strerror(self._number))


@pytest.fixture
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def search(folder: Path) -> Records:
    """Sweeps, then evaluates what is missing; beside the records it writes one file again and again."""
    durable.clean_leftovers(folder)
    rules, base = start()
    records = Records(folder)
    if records.get(base.pair.key) is None:
        commit(records, base)
    climber = HillClimber(rules, records.all())
    while climber.next_index <= PAIRS:
        pair = climber.ask()
        assert pair is not None
        commit(records, evaluate(pair))
        climber.tell(evaluate(pair))
        durable.write_json(folder / NOTE, {"pairs": pair.index}, seal=True)
    return records


def commit(records: Records, record: PairRecord) -> None:
    staged = records.staging(record.pair.key)
    durable.write_bytes(staged / "weights.safetensors", record.pair.key.encode())
    records.commit(record, staged)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_search_goes_on_after_the_failure_of_any_call_to_the_disk(
    scratch: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = results.digest(search(scratch))
    room = r": needed [1-9]\d* bytes, free \d+" if number == errno.ENOSPC else ""
    for fails_at in count(1):
        folder = scratch / str(fails_at)
        folder.mkdir()
        with monkeypatch.context() as patch:
            Disk(patch, fails_at, number)
            error = failure_of(folder)
        if error is None:
            break
        assert re.fullmatch(
            rf"{re.escape(str(folder))}/\S+: {re.escape(os.strerror(number))}{room}", str(error)
        )
        assert error.exit_code == 74
        found = Records(folder)
        assert results.problems(found) == ()
        if (folder / NOTE).exists():
            assert durable.read_json(folder / NOTE)["pairs"] in (len(found.all()) - 1, len(found.all()) - 2)
        assert results.digest(search(folder)) == digest
        assert not list(folder.rglob(".*.tmp"))
    assert fails_at > 16 * PAIRS


def failure_of(folder: Path) -> StorageError | None:
    try:
        search(folder)
    except StorageError as error:
        return error
    return None
