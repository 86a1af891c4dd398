"""Latencies as facts: what a target measured of a record's student, in a file of its own beside the record.

A search whose cost is latency proposes by them. So they are recorded before anything follows from them, a
search that goes on reads them and measures nothing again, and its digest, as that of all clock readings, does
not hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jdn_core.errors import StorageError
from jdn_core.search.pairs import Evaluation
from jdn_core.storage import durable

SCHEMA = 1
FACTS_FILE = "latency.json"


@dataclass(frozen=True)
class Latency:
    """What a target measured of one exported student, batch 1, network with proposals and NMS.

    Attributes:
        median_ms, p10_ms, p90_ms: milliseconds.
        resolution: the frame of the file.
        runtime, precision, threads: what it ran in.
        machine: the target's name of itself.
        sha256: of the file that was timed.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    resolution: str
    runtime: str
    precision: str
    threads: int
    machine: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Latency:
        """Raises ValueError, KeyError or TypeError where the data is broken."""
        found = cls(**data)
        if not found.median_ms > 0:
            raise ValueError(f"a latency must be > 0 ms, got {found.median_ms}")
        return found


def read(folder: Path) -> dict[str, Latency]:
    """Returns the facts beside a record, by target; a damaged file has none, so they are measured again."""
    try:
        data = durable.read_json(folder / FACTS_FILE, schema=SCHEMA)
        return {target: Latency.from_json(found) for target, found in data["targets"].items()}
    except (FileNotFoundError, StorageError, AttributeError, ValueError, KeyError, TypeError):
        return {}


def note(folder: Path, target: str, found: Latency) -> None:
    """Adds a target's fact to those beside a record; one that is there stays.

    Raises:
        StorageError: the disk is full or broken.
    """
    known = {target: found} | read(folder)
    data = {"targets": {name: each.to_json() for name, each in known.items()}}
    durable.write_json(folder / FACTS_FILE, data, schema=SCHEMA, seal=True)


def with_facts(evaluation: Evaluation, folder: Path) -> Evaluation:
    """Returns an evaluation with the latencies beside its record."""
    if not (folder / FACTS_FILE).is_file():
        return evaluation
    return replace(evaluation, latency={name: each.median_ms for name, each in read(folder).items()})
