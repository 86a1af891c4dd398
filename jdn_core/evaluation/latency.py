"""Measured time of one detection, with what it was measured on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from jdn_core.data.loading import pad_together
from jdn_core.evaluation.detection import Detects, device_of
from jdn_core.space.architecture import Resolution


class Timed(Detects, Protocol):
    """What can be timed; its mode is that of a ``torch.nn.Module``."""

    training: bool

    def train(self, mode: bool = True) -> object: ...


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one image through ``detect``: network, proposals, NMS; not reading the file.

    Attributes:
        device: the GPU's name, or ``cpu``.
        threads: torch's threads inside one operation.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    device: str
    threads: int


def measure(detector: Timed, resolution: Resolution, *, warmup: int = 5, repeats: int = 20) -> Latency:
    """Times ``repeats`` detections of one image of seeded noise, after ``warmup`` that do not count.

    Batch 1, eval mode, inference mode; the detector's own mode is restored.
    """
    times = time_detections(detector, resolution, warmup=warmup, repeats=repeats)
    return summary(times, device_of(detector))


def time_detections(
    detector: Timed, resolution: Resolution, *, warmup: int, repeats: int, batch: int = 1
) -> list[float]:
    """Returns the milliseconds of each of ``repeats`` detections in a batch; ``measure`` says of what."""
    if warmup < 0 or repeats < 1 or batch < 1:
        got = f"{warmup}, {repeats} and {batch}"
        raise ValueError(f"warmup must be >= 0, repeats and batch >= 1, got {got}")
    images = _noise(resolution).repeat(batch, 1, 1, 1).to(device_of(detector))
    training = detector.training
    detector.eval()
    try:
        return [_time_one(detector, images, resolution) for _ in range(warmup + repeats)][warmup:]
    finally:
        detector.train(training)


def summary(times: Sequence[float], device: torch.device) -> Latency:
    """Returns what the milliseconds, one of them at least, come to."""
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Latency(median, p10, p90, name, torch.get_num_threads())


def _noise(resolution: Resolution) -> torch.Tensor:
    """Returns [1, 3, H, W] in 0..1, the frame padded with zeros as a batch is."""
    generator = torch.Generator().manual_seed(0)
    return pad_together([torch.rand(3, resolution.height, resolution.width, generator=generator)])


@torch.inference_mode()
def _time_one(detector: Detects, images: torch.Tensor, resolution: Resolution) -> float:
    start = time.perf_counter()
    detector.detect(images, [(resolution.height, resolution.width)] * len(images))
    if images.is_cuda:  # kernels run asynchronously; without this the clock stops too early
        torch.cuda.synchronize(images.device)
    return (time.perf_counter() - start) * 1e3
