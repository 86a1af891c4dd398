"""Searches that a user names, put side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.inputs.searches import base, row, rows
from flows.inputs.settings_file import read_back
from jdn_core.errors import UsageError
from jdn_core.reports.comparing import Comparison, Searched, compare
from jdn_core.reports.page import render_comparison
from jdn_core.run import outcome
from jdn_core.run.fingerprint import noted
from jdn_core.run.folder import Run
from jdn_core.storage import durable


def side_by_side(folders: Sequence[Path], out: Path | None) -> tuple[Comparison, dict[str, Any]]:
    """Compares searches and writes the page; returns what is shown, and the JSON of it.

    Raises:
        UsageError: fewer than two searches.
        InputMissing: a folder holds no search with a base.
        StorageError: the page cannot be written.
    """
    if len(folders) < 2:
        raise UsageError(f"compare takes two searches or more, got {len(folders)}")
    names = _names(folders)
    searches = [_searched(folder, name) for folder, name in zip(folders, names, strict=True)]
    found = compare(searches)
    if out is not None:
        durable.write_text(out, render_comparison(found))
    data = {
        "searches": [
            {
                "name": one.name,
                "folder": str(folder),
                "pairs": len(one.rows),
                "seconds": sum(one.seconds),
                "base": one.base.to_json(),
                "best": one.best.to_json(),
                "held_out": dict(zip(("base", "best"), one.held_out, strict=True)) if one.held_out else None,
                "hypervolume": found.hypervolumes[place] if found.hypervolumes else None,
            }
            for place, (folder, one) in enumerate(zip(folders, searches, strict=True))
        ],
        "differences": [{"setting": key, "values": list(values)} for key, *values in found.differences],
        "at_cost": [{"macs": key, "ap": list(values)} for key, *values in found.at_cost],
        "cautions": list(found.cautions),
        "page": str(out) if out is not None else None,
    }
    return found, data


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns the folders' own names, or their paths where two have the same one."""
    names = [folder.resolve().name for folder in folders]
    return [
        str(folder) if Counter(names)[name] > 1 else name for folder, name in zip(folders, names, strict=True)
    ]


def _searched(folder: Path, name: str) -> Searched:
    settings = read_back(folder)
    run = Run(settings, folder.resolve())
    first, table = base(folder), rows(folder)
    records = run.records.all()
    held_out = outcome.of(run).held_out
    return Searched(
        name=name,
        settings=settings.model_dump(mode="json", exclude={"name"}),
        fingerprint=noted(folder),
        rows=table,
        base=first,
        best=row(folder, None),
        seconds=tuple(
            record.evaluation.timing.train_seconds if record.evaluation else 0.0 for record in records
        ),
        held_out=(held_out.ap("base"), held_out.ap(held_out.result)) if held_out else None,
    )
