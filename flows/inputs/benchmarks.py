"""Several detectors measured side by side: accuracy and latency of each one as it is, nothing guessed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.inputs import models
from jdn_core.detector.build import Detector
from jdn_core.errors import UsageError
from jdn_core.evaluation.latency import time_detections
from jdn_core.export.label import Runtime
from jdn_core.export.runtimes import FileDetector, open_file
from jdn_core.processes import stopping
from jdn_core.processes.progress import report
from jdn_core.space.architecture import Resolution

WARMUP, REPEATS, ROUNDS = 3, 10, 5
PAUSE = 0.2  # seconds before each round of a detector, in which a CPU cools down and others have their turn


@dataclass(frozen=True, eq=False)
class Contestant:
    """A detector that is ready to run.

    Attributes:
        model: as it was named.
        detector: in its runtime.
        resolution: the frame that is measured.
        bytes: of its weights or its file.
        load_seconds: from the disk to its runtime.
    """

    model: str
    detector: Detector | FileDetector
    resolution: Resolution
    bytes: int
    load_seconds: float


def benchmark(
    names: Sequence[str],
    *,
    runtime: Runtime | None,
    threads: int | None,
    batch: int,
    data: Path | None,
    resolution: str | None = None,
) -> list[dict[str, Any]]:
    """Measures models one after the other, in rounds, so that a busy minute is shared by all of them.

    Args:
        names: as ``models.find`` reads them.
        runtime: what is to run all of them; none: each one's own.
        threads: inside one operation; none: torch's own number.
        batch: images at a time.
        data: dataset on whose val split AP is measured; none: AP is left out.
        resolution: frame for all, ``WxH``; none: each one's own.

    Returns:
        A row for each model: what it is, ``latency_ms`` with ``median``, ``p10`` and ``p90`` of a batch, and
        ``ap``.

    Raises:
        UsageError: a model does not run in the runtime.
    """
    dataset = None if data is None else models.read_split(data, "val", drop_bad_boxes=False)
    with contextlib.ExitStack() as stack, _threads(threads):
        every = [
            _ready(stack.enter_context(models.opened(name, resolution=resolution)), name, runtime)
            for name in names
        ]
        times: list[list[float]] = [[] for _ in every]
        for number in range(ROUNDS):
            for one, taken in zip(every, times, strict=True):
                stopping.check()
                time.sleep(PAUSE)
                taken += time_detections(
                    one.detector, one.resolution, warmup=WARMUP, repeats=REPEATS, batch=batch
                )
            report("benchmark", number + 1, ROUNDS)
        return [
            _row(one, taken, batch)
            | {"ap": None if dataset is None else models.numbers(one.detector, one.resolution, dataset)["AP"]}
            for one, taken in zip(every, times, strict=True)
        ]


def _ready(found: models.Found, name: str, runtime: Runtime | None) -> Contestant:
    start = time.perf_counter()
    detector: Detector | FileDetector
    if found.is_file:
        detector = open_file(found.folder, runtime=runtime, threads=torch.get_num_threads())
    elif runtime in (None, "torch"):
        detector = found.load("cpu")
    else:
        what = f"{name}: is no exported file, so it runs in torch; for {runtime} export it first"
        raise UsageError(f"{what}: jdn export {name} --format {_FORMATS[runtime]}")
    seconds = time.perf_counter() - start
    return Contestant(name, detector, found.resolution, found.bytes, seconds)


_FORMATS = {"onnxruntime": "onnx", "openvino": "openvino"}


def _row(one: Contestant, times: Sequence[float], batch: int) -> dict[str, Any]:
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    label = one.detector.label if isinstance(one.detector, FileDetector) else None
    return {
        "model": one.model,
        "format": label.format if label else "detector",
        "precision": label.precision if label else "fp32",
        "runtime": one.detector.runtime if isinstance(one.detector, FileDetector) else "torch",
        "resolution": str(one.resolution),
        "bytes": one.bytes,
        "load_seconds": one.load_seconds,
        "threads": torch.get_num_threads(),
        "batch": batch,
        "latency_ms": {"median": median, "p10": p10, "p90": p90, "repeats": len(times)},
    }


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
