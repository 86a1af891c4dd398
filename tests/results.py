"""What two searches are compared by: their results without the clock's, and whether their files are whole."""

from __future__ import annotations

from typing import Any

from jdn_core.errors import Problem
from jdn_core.run.folder import Run
from jdn_core.search import finetunings
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import Records
from jdn_core.storage import durable
from jdn_core.storage.canonical import content_key


def digest_of(record: PairRecord) -> str:
    """Key of all but clock readings: equal in every run with the same settings, seed and threads."""
    data = record.to_json()
    if data["evaluation"] is not None:
        del data["evaluation"]["timing"]
    del data["files"]
    return content_key(data)


def digest(records: Records) -> str:
    """One key for all results: equal for searches that found the same, whatever the clock said."""
    return content_key([digest_of(record) for record in records.all()])


def problems(records: Records) -> tuple[Problem, ...]:
    """Records that are not whole, and files that are missing or have another hash than their record says."""
    found = list(records.problems())
    for record in records.all():
        for name, expected in record.files.items():
            file = records.path(record.pair.key) / name
            if not file.is_file() or durable.sha256_of(file) != expected:
                found.append(Problem(f"pairs/{record.pair.key}", name, f"SHA-256 must be {expected}"))
    return tuple(found)


def contenders(run: Run) -> dict[str, Any]:
    """What stands beside a search's winner, by name, without clock readings, and the held-out numbers."""
    found: dict[str, Any] = {}
    for file in sorted((run.folder / "controls").glob("*/contender.json")):
        data = durable.read_json(file)
        if data["evaluation"] is not None:
            del data["evaluation"]["timing"]
        found[file.parent.name] = data
    if run.held_out.is_file():
        found["held out"] = durable.read_json(run.held_out)
    return found


def finetuned(run: Run) -> dict[str, Any]:
    """What was trained on after a search, by name, without clock readings."""
    found: dict[str, Any] = {}
    for folder, record in finetunings.all_in(run.finetuning()).items():
        data = record.to_json()
        del data["evaluation"]["timing"], data["files"]
        found[folder.name] = data
    return found
