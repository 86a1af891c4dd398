"""Times exported students as targets run them: a detector's folder becomes a file, and a file a latency."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

from jdn_core.detector.folder import load_detector, load_spec
from jdn_core.evaluation.latency import measure
from jdn_core.export.label import Format, Label
from jdn_core.export.runtimes import open_file
from jdn_core.export.writing import write
from jdn_core.run.folder import Run
from jdn_core.search import latencies
from jdn_core.search.latencies import Latency
from jdn_core.settings.search import TargetSettings
from jdn_core.storage import durable

WARMUP = 5


def known(run: Run, folder: Path, target: TargetSettings) -> Latency | None:
    """Returns what a target has measured of this architecture, of whichever pair it was the student.

    Weights decide how many boxes come through, which is little of the time; and a pair that only has another
    teacher has its parent's student.
    """
    spec = load_spec(folder)
    for record in run.records.all():
        if record.evaluation and record.pair.student == spec and target.name in record.evaluation.latency:
            return latencies.read(run.records.path(record.pair.key)).get(target.name)
    return latencies.read(folder).get(target.name)


def export(run: Run, folder: Path, target: TargetSettings) -> Path:
    """Writes a detector's file for a target, at the largest resolution, below the run's ``work``.

    Raises:
        UsageError: a package that the format needs is not installed.
        InputMissing, CheckpointError: the weights are gone or damaged.
        StorageError: the disk is full.
    """
    detector = load_detector(folder)
    format: Format = "pt2" if target.runtime == "torch" else "onnx"
    spec = replace(detector.spec, resolution=run.settings.data.frames[-1])
    place = run.folder / "work" / "exports" / folder.name / target.name
    place.mkdir(parents=True, exist_ok=True)
    return write(detector, Label(spec, format, target.precision), place)[-1]


def time_file(file: Path, target: TargetSettings) -> Latency:
    """Times an exported file, one image at a time, in the target's runtime on this machine.

    Raises:
        UsageError: the runtime is not installed.
        InputMissing, CheckpointError: there is no such file, or it is damaged.
    """
    detector = open_file(file, runtime=target.runtime, threads=target.threads)
    frame = detector.label.spec.resolution
    found = measure(detector, frame, warmup=WARMUP, repeats=target.repeats)
    return Latency(
        median_ms=found.median_ms,
        p10_ms=found.p10_ms,
        p90_ms=found.p90_ms,
        resolution=str(frame),
        runtime=target.runtime,
        precision=target.precision,
        threads=target.threads,
        machine=platform.processor() or platform.machine(),
        sha256=durable.sha256_of(file),
    )


def measure_here(run: Run, folder: Path, target: TargetSettings) -> Latency:
    """Exports a detector and times it on this machine; raises as ``export`` and ``time_file`` do."""
    return time_file(export(run, folder, target), target)
