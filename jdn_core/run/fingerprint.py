"""What results depend on apart from the machine: noted when work begins, compared whenever it goes on.

RELIABILITY, rule 9: settings, data and the versions of the code, each by its hash or its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jdn_core.errors import FingerprintError, Problem
from jdn_core.run import datasets
from jdn_core.run.file_names import FINGERPRINT_FILE
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable

SCHEMA = 1  # of every file that `require_same` writes


def fingerprint(settings: Settings) -> dict[str, Any]:
    """Returns what the results of a run under these settings depend on."""
    train, val = datasets.check_data(settings)
    splits = {"train": train.fingerprint, "val": val.fingerprint}
    if settings.data.holdout == "test" and (test := datasets.held_out(settings.data)):
        splits["test"] = test.fingerprint
    return {"settings": settings.digest, **splits, **versions()}


def versions() -> dict[str, str]:
    """Returns the versions of the code that numbers depend on."""
    return {name: version(name) for name in ("jdn", "torch", "torchvision")}


def noted(folder: Path) -> dict[str, Any]:
    """Returns the fingerprint that a search's folder holds; empty where it holds none.

    Raises:
        FormatError: another version wrote it.
    """
    file = folder / FINGERPRINT_FILE
    return durable.read_json(file, schema=SCHEMA) if file.is_file() else {}


def require_same(file: Path, now: Mapping[str, Any]) -> None:
    """Writes the fingerprint of new work; refuses to go on with another one, naming old and new.

    Raises:
        FingerprintError: the file is there and holds another one.
    """
    if not file.is_file():
        durable.write_json(file, now, schema=SCHEMA)
        return
    before = durable.read_json(file, schema=SCHEMA)
    changed = [
        Problem(file.name, name, f"was {before.get(name)!r} when the search began", repr(value))
        for name, value in now.items()
        if before.get(name) != value
    ]
    if changed:
        raise FingerprintError.of(changed)
