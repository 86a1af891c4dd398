"""The pairs of a finished search timed on a target, for `jdn rescore --cost latency`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.inputs.searches import rows
from flows.inputs.settings_file import read_back
from flows.launch.endings import following
from flows.launch.opening import hired, opened
from flows.launch.telling import tell
from flows.search import timing
from jdn_core.errors import InputMissing
from jdn_core.processes.progress import report
from jdn_core.reports.tables import ranked
from jdn_core.run.folder import Run
from jdn_core.search import latencies
from jdn_core.settings.search import TargetSettings
from tasks.latency import measure_latency


@flow(name="measure-latencies", validate_parameters=False)
def measure_latencies(folder: Path, target: TargetSettings, top: int | None) -> dict[str, Any]:
    """Times the base and the best pairs of a search that nobody has timed yet.

    Args:
        folder: of the search.
        target: where.
        top: how many of the best pairs; none: all.

    Raises:
        InputMissing: the search has no pairs, or nothing is deployed on the target's pool.
    """
    settings = read_back(folder)
    chosen = {row.index for row in ranked(rows(folder), top=top) if row.state == "done"} | {0}
    with following(folder), opened(settings, folder) as run, hired(settings) as workers:
        records = [record for record in run.records.all() if record.evaluation]
        if not records:
            raise InputMissing(f"{folder}: the search has no pairs yet")
        wanted = [record for record in records if record.pair.index in chosen]
        with timing(run, target, workers) as watch:
            for number, record in enumerate(wanted, start=1):
                measure_latency(watch, record)
                report(f"latency on {target.name}", number, len(wanted))
        return {"target": target.name, "pairs": _measured(run, target.name), "error": tell(run)}


def _measured(run: Run, target: str) -> list[dict[str, Any]]:
    """Returns what a target has measured so far, by index of the pair."""
    found = []
    for record in run.records.all():
        fact = latencies.read(run.records.path(record.pair.key)).get(target)
        if fact is not None:
            found.append({"index": record.pair.index, "action": record.pair.action, **fact.to_json()})
    return found
