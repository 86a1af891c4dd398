"""Where workers compute: GPUs in turn, or shares of the CPU's threads."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """Where a worker computes.

    Attributes:
        device: name of what it shares with others, such as ``cpu`` or ``cuda:1``.
        threads: CPU threads of its tensor operations; none: as many as torch takes.
        environment: variables that it sets before torch looks for devices.
    """

    device: str = "cpu"
    threads: int | None = None
    environment: dict[str, str] = field(default_factory=dict)


def places(count: int, *, device: str, threads: int | None) -> tuple[Place, ...]:
    """A place for each of ``count`` workers: GPUs in turn, or an even share of the CPU's threads.

    Args:
        count: workers.
        device: ``cpu`` or ``cuda``.
        threads: of each worker, as the settings ask; none: what there is, shared out evenly.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = threads or (None if count == 1 else max(1, cores // count))
    if device != "cuda":
        return tuple(Place("cpu", share) for _ in range(count))
    gpus = _gpus()
    return tuple(
        Place(f"cuda:{gpu}", share, {"CUDA_VISIBLE_DEVICES": gpu})
        for gpu in (gpus[index % len(gpus)] for index in range(count))
    )


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return visible.split(",")
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
