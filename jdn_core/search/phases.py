"""What subnets of the pool are worth after a phase of its training: one small file a phase."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from jdn_core.errors import StorageError
from jdn_core.search.subnets import SubnetRecord
from jdn_core.storage import durable

SCHEMA = 1
# largest, smallest or random -> the subnets of this kind; one at least, each with its AP.
Assessment = Mapping[str, tuple[SubnetRecord, ...]]


def read(file: Path) -> Assessment | None:
    """Returns what ``write`` wrote; none where there is no file, or a damaged one."""
    try:
        data = durable.read_json(file, schema=SCHEMA)
        return {kind: tuple(map(SubnetRecord.from_json, records)) for kind, records in data.items()}
    except (FileNotFoundError, StorageError, AttributeError, ValueError, KeyError, TypeError):
        return None


def write(file: Path, assessment: Assessment) -> None:
    """Raises StorageError where the disk is full or broken."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {kind: [record.to_json() for record in records] for kind, records in assessment.items()}
    durable.write_json(file, data, schema=SCHEMA, seal=True)


def mean_aps(assessment: Assessment) -> dict[str, float]:
    """Computes ``ap_largest``, ``ap_smallest``, ``ap_random``: means of each kind there is, fractions."""
    return {
        f"ap_{kind}": fmean(record.ap[record.resolution] for record in records)
        for kind, records in assessment.items()
    }
