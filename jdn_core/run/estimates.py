"""What a whole upgrade will take, in seconds by stage and bytes on the disk, and what it took in the end.

Seconds come from one measured step of each kind (``stages.clock``) and the number of such steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jdn_core.pool.supernet import SuperNet
from jdn_core.processes import devices
from jdn_core.run import assemble, datasets, disk_space, warm
from jdn_core.run.folder import Run
from jdn_core.run.stage_seconds import StageSeconds
from jdn_core.settings.whole import Settings
from jdn_core.stages.clock import Regimes, seconds_per_photo
from jdn_core.storage import durable

ESTIMATE_FILE = "estimate.json"  # in the run's folder
TIMES_FILE = "times.json"
SCHEMA = 1  # of both


@dataclass(frozen=True)
class Estimate:
    """What an upgrade will take.

    Attributes:
        seconds: by stage: ``start``, ``base``, ``pool``, ``pairs``, ``controls``.
        bytes: by what they are for (``disk_space.needed_bytes``).
        steps: seconds for one photo of a step of each kind, as measured.
        device: that they were measured on.
    """

    seconds: Mapping[str, float]
    bytes: Mapping[str, int]
    steps: Mapping[str, float]
    device: str

    def to_json(self) -> dict[str, Any]:
        return {
            "seconds": sum(self.seconds.values()),
            "bytes": sum(self.bytes.values()),
            "stages": dict(self.seconds),
            "disk": dict(self.bytes),
            "seconds_per_photo": dict(self.steps),
            "device": self.device,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """Reads what ``to_json`` gave; raises KeyError where it is something else."""
        return cls(data["stages"], data["disk"], data["seconds_per_photo"], data["device"])


def estimate(settings: Settings) -> Estimate:
    """Measures a step of each kind on this machine and adds up a whole upgrade.

    Raises:
        InputMissing, DataError, CheckpointError: the data or the checkpoint cannot be read.
    """
    bench = warm.bench(settings)
    spec = assemble.base_spec(settings)
    bench.stream.child("clock").seed_torch()
    detector = assemble.base_detector(spec, settings).to(bench.device)
    supernet = SuperNet(settings.subnet_space, spec).to(bench.device)
    regimes = Regimes(settings.base, assemble.phases(settings), settings.evaluation, settings.distillation)
    steps = seconds_per_photo(detector, supernet, bench, regimes=regimes)
    held = datasets.held_out(settings.data)
    seconds = StageSeconds(
        settings,
        train=len(bench.train_set.images),
        val=len(bench.val.dataset.images),
        held_out=len(held.images) if held else 0,
        steps=steps,
        at_a_time=at_a_time(settings),
    ).by_stage()
    pairs = settings.search.iterations + 1
    needed = disk_space.needed_bytes(settings, spec, settings.subnet_space, pairs=pairs)
    return Estimate(seconds, needed, steps, str(bench.device))


def at_a_time(settings: Settings) -> int:
    """Returns how many pairs are evaluated at once without slowing each other: one on every GPU."""
    workers = settings.search.workers
    if settings.search.evaluator == "work_pool":
        return workers
    is_cuda = devices.choose(settings.device).type == "cuda"
    return min(workers, max(1, len(devices.gpus()))) if is_cuda else 1


def ensure(run: Run) -> Estimate:
    """Returns the run's estimate; makes and keeps one where there is none."""
    if (kept := read(run)) is None:
        kept = estimate(run.settings)
        durable.write_json(run.folder / ESTIMATE_FILE, kept.to_json(), schema=SCHEMA)
    return kept


def read(run: Run) -> Estimate | None:
    """Returns the estimate that a run began with; none where none was made."""
    file = run.folder / ESTIMATE_FILE
    return Estimate.from_json(durable.read_json(file, schema=SCHEMA)) if file.is_file() else None


@contextmanager
def clocked(run: Run, stage: str) -> Iterator[None]:
    """Adds the wall time of the block to what the stage took so far; what a kill cut off is not counted."""
    started = time.monotonic()
    yield
    times = taken(run)
    times[stage] = times.get(stage, 0.0) + time.monotonic() - started
    durable.write_json(run.folder / TIMES_FILE, {"seconds": times}, schema=SCHEMA)


def taken(run: Run) -> dict[str, float]:
    """Returns the seconds that each stage took so far."""
    file = run.folder / TIMES_FILE
    return dict(durable.read_json(file, schema=SCHEMA)["seconds"]) if file.is_file() else {}


def compared(run: Run) -> dict[str, Any] | None:
    """Returns the estimate beside what the run took, by stage, in seconds and bytes; none without one."""
    if (begun := read(run)) is None:
        return None
    times = taken(run)
    size = sum(path.stat().st_size for path in _files(run.folder))
    stages = [name for name in begun.seconds if name in times]
    return {
        "estimated": {name: begun.seconds[name] for name in stages},
        "taken": {name: times[name] for name in stages},
        "estimated_seconds": sum(begun.seconds[name] for name in stages),
        "seconds": sum(times[name] for name in stages),
        "estimated_bytes": sum(begun.bytes.values()),
        "bytes": size,
    }


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
