"""What a step does besides arithmetic: operator calls, kernel launches, waits of the host for the device."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

# Names of CUDA's calls, as the profiler has them. cudaDeviceSynchronize is the profiler's own.
_LAUNCH = re.compile(r"^(cuda|cu)LaunchKernel|^cudaGraphLaunch")
_WAIT = re.compile(r"^cudaStreamSynchronize|^cudaEventSynchronize|^cudaMemcpy$")


@dataclass(frozen=True)
class Counts:
    """Per step.

    Attributes:
        operators: calls of torch's operators, those inside others included.
        launches: kernels; 0 on a CPU.
        waits: times that the host waited for the device; 0 on a CPU.
    """

    operators: float
    launches: float
    waits: float

    @classmethod
    def of(cls, events: Iterable[Any], steps: int) -> Counts:
        """Reads the profiler's averages over so many steps."""
        counts = Counter({event.key: event.count for event in events})
        launches = sum(n for name, n in counts.items() if _LAUNCH.search(name))
        waits = sum(n for name, n in counts.items() if _WAIT.search(name))
        operators = sum(n for name, n in counts.items() if "::" in name)
        return cls(operators / steps, launches / steps, waits / steps)


def profiler(*, on_gpu: bool) -> profile:
    """Makes the profiler, with what only a GPU has where there is one."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    return profile(activities=activities, acc_events=True)


def count(step: Callable[[], object], *, device: str) -> Counts:
    """Counts what one step does."""
    with profiler(on_gpu=device == "cuda") as seen:
        step()
    return Counts.of(seen.key_averages(), 1)


@contextmanager
def waits_by_line() -> Iterator[Counter[str]]:
    """Counts the lines of Python in which the host waits for the GPU while the block runs."""
    lines: Counter[str] = Counter()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            yield lines
    finally:
        torch.cuda.set_sync_debug_mode("default")
    lines.update(
        f"{'/'.join(warning.filename.split('/')[-2:])}:{warning.lineno}"
        for warning in seen
        if "synchroniz" in str(warning.message)
    )
