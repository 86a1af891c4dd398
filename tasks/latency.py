"""The latency of a record's student on a target: exported here, timed there, kept beside the record."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.errors import JobFailed
from jdn_core.processes.attempts import insist
from jdn_core.processes.workers import Workers
from jdn_core.run import latency
from jdn_core.run.folder import Run
from jdn_core.search import latencies
from jdn_core.search.contenders import ContenderRecord
from jdn_core.search.latencies import Latency
from jdn_core.search.pairs import PairRecord
from jdn_core.settings.search import TargetSettings
from jdn_core.storage import durable
from tasks.orchestration.work_pool import PoolRuns
from tasks.tracking import restore_files
from tasks.tracking.exports import send_export


@dataclass(frozen=True)
class Stopwatch:
    """Times students on one target, one at a time.

    Attributes:
        run: of the search.
        target: where.
        workers: export the students, and time them where the target is this machine.
        pool: runs of the target's deployment; none: this machine.
    """

    run: Run
    target: TargetSettings
    workers: Workers
    pool: PoolRuns | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def time(self, folder: Path) -> Latency:
        """Returns the latency of a detector's folder; an architecture that was timed is not timed again."""
        with self.turn:
            if found := latency.known(self.run, folder, self.target):
                return found
            if self.pool is None:
                found = insist(self.workers, latency.measure_here, self.run, folder, self.target)
            else:
                found = self._far(self.pool, folder)
            shutil.rmtree(self.run.folder / "work" / "exports" / folder.name, ignore_errors=True)
            return found

    def _far(self, pool: PoolRuns, folder: Path) -> Latency:
        """Sends the file to MLflow, and waits for the number that a worker of the target's pool gives."""
        file = insist(self.workers, latency.export, self.run, folder, self.target)
        sha256 = durable.sha256_of(file)
        parameters = {
            "search_run": send_export(self.run, file, place=f"exports/{folder.name}"),
            "file": f"exports/{folder.name}/{file.name}",
            "sha256": sha256,
            "target": self.target.model_dump(mode="json"),
        }
        name = f"{self.target.name} {folder.name[:8]}"
        state = pool.run(parameters, name=name, key=f"{self.target.name}-{sha256}")
        if not state.is_completed():
            raise JobFailed(f"{self.target.name} cannot time {folder.name[:8]}: {state.message}")
        return Latency.from_json(json.loads(state.message or ""))


@task(
    name="measure latency", task_run_name="measure latency of pair {record.pair.index}", cache_policy=NO_CACHE
)
def measure_latency(watch: Stopwatch, record: PairRecord) -> PairRecord:
    """Returns a record with its student's latency, which is timed unless that is done."""
    if record.evaluation is None or watch.target.name in record.evaluation.latency:
        return record
    restore_files(watch.run, record.pair.key)
    found = watch.time(watch.run.records.path(record.pair.key))
    return watch.run.records.note_latency(record.pair.key, watch.target.name, found)


@task(name="measure control's latency", cache_policy=NO_CACHE)
def measure_control_latency(watch: Stopwatch, record: ContenderRecord) -> None:
    """Keeps the latency of what stands beside a winner, unless that is done."""
    folder = watch.run.contenders.path(record.contender.name)
    if record.evaluation is not None and watch.target.name not in latencies.read(folder):
        latencies.note(folder, watch.target.name, watch.time(folder))
