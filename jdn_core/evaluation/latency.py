"""Measured time of one detection, with what it was measured on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from jdn_core.data.loading import pad_together
from jdn_core.detector.build import Detector
from jdn_core.space.architecture import Resolution


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


def measure(detector: Detector, resolution: Resolution, *, warmup: int = 5, repeats: int = 20) -> Latency:
    """Times ``repeats`` detections of one image of seeded noise, after ``warmup`` that do not count.

    Batch 1, eval mode, inference mode; the detector's own mode is restored.
    """
    if warmup < 0 or repeats < 1:
        raise ValueError(f"warmup must be >= 0 and repeats >= 1, got {warmup} and {repeats}")
    device = next(detector.parameters()).device
    images = _noise(resolution).to(device)
    training = detector.training
    detector.eval()
    try:
        times = [_time_one(detector, images, resolution) for _ in range(warmup + repeats)][warmup:]
    finally:
        detector.train(training)
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Latency(median, p10, p90, name, torch.get_num_threads())


def _noise(resolution: Resolution) -> torch.Tensor:
    """Returns [1, 3, H, W] in 0..1, the frame padded with zeros as a batch is."""
    generator = torch.Generator().manual_seed(0)
    return pad_together([torch.rand(3, resolution.height, resolution.width, generator=generator)])


@torch.inference_mode()
def _time_one(detector: Detector, images: torch.Tensor, resolution: Resolution) -> float:
    start = time.perf_counter()
    detector.detect(images, [(resolution.height, resolution.width)])
    if images.is_cuda:  # kernels run asynchronously; without this the clock stops too early
        torch.cuda.synchronize(images.device)
    return (time.perf_counter() - start) * 1e3
