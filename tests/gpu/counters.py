"""What a step does besides arithmetic: operator calls, kernel launches, waits of the host for the device."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

# Names of CUDA's calls, as the profiler has them. cudaDeviceSynchronize is the profiler's own.
_OPERATOR = re.compile("(aten|torchvision)::")
_LAUNCH = re.compile("(cuda|cu)LaunchKernel|cudaGraphLaunch")
_WAIT = re.compile("cudaStreamSynchronize|cudaEventSynchronize|cudaMemcpy$")


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
    def of(cls, seen: profile, *, steps: int) -> Counts:
        """Counts what a profiler saw in so many steps.

        Its raw events are read: torch makes a tree of them first, which takes twenty times the steps' time.
        """
        results = None if seen.profiler is None else seen.profiler.kineto_results
        if results is None:
            raise RuntimeError("the profiler has not run")
        names = Counter(event.name() for event in results.events())
        operators, launches, waits = (
            sum(count for name, count in names.items() if kind.match(name)) / steps
            for kind in (_OPERATOR, _LAUNCH, _WAIT)
        )
        return cls(operators, launches, waits)


def profiler(*, on_gpu: bool) -> profile:
    """Makes the profiler, with what only a GPU has where there is one."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    return profile(activities=activities)


def count(step: Callable[[], object], *, device: str) -> Counts:
    """Counts what one step does."""
    with profiler(on_gpu=device == "cuda") as seen:
        step()
    return Counts.of(seen, steps=1)


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
        if "called a synchronizing" in str(warning.message)
    )
