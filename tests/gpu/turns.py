"""Our training loop and another step by turns, under the clock, then under the profiler."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import torch
from torch import nn

from jdn_core.data.loading import Batch, BatchLoader, Plan, Sample
from jdn_core.processes.progress import listening
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import LARGEST
from jdn_core.training.loop import Course, LossesOf, train
from jdn_core.training.randomness import Stream
from tests.gpu.counters import Counts, profiler, waits_by_line
from tests.gpu.scale import Fast, Precision

PROFILED = 2  # steps
Pair = tuple[float, float]
Step = Callable[[], object]


class Turns:
    """Lets another step run after each of ours, and measures both.

    Args:
        other: the other step.
        fast: how many turns there are.
        device: that both compute on.

    Attributes:
        pairs: milliseconds of our step and of the other one, without the warm-up.
        peaks: most bytes that were held on a GPU during any of either's steps.
        counts: of our step.
        waits: lines in which our step waits for a GPU.
    """

    def __init__(self, other: Step, *, fast: Fast, device: str) -> None:
        self.pairs: list[Pair] = []
        self.peaks: Pair = (0.0, 0.0)
        self.counts = Counts(0, 0, 0)
        self.waits: Counter[str] = Counter()
        self._other, self._fast, self._on_gpu = other, fast, device == "cuda"
        self._stack = ExitStack()
        self._begun = self._now()

    @property
    def steps(self) -> int:
        """Counts those of ours: for the clock, for the profiler, and for a look at where they wait."""
        return self._fast.warmup + self._fast.pairs + PROFILED + self._on_gpu

    def both(self, ours: Step) -> Pair:
        """Times a step of ours and the other one behind it, in milliseconds."""
        self._begun = self._now()
        ours()
        return self._turn()

    def after(self, done: int) -> None:
        """Follows every step of ours, and lets the other one run while the clock does."""
        timed = self._fast.warmup + self._fast.pairs
        if done <= timed:
            pair = self._turn()
            self.pairs += [pair] * (done > self._fast.warmup)
        if done == timed:
            self._profile = self._stack.enter_context(profiler(on_gpu=self._on_gpu))
        elif done == timed + PROFILED:
            self._stack.close()
            self.counts = Counts.of(self._profile, steps=PROFILED)
            if self._on_gpu:
                self.waits = self._stack.enter_context(waits_by_line())
        elif done > timed + PROFILED:
            self._stack.close()
        self._begun = self._now()

    def _turn(self) -> Pair:
        ours, mine = self._now() - self._begun, self._peak()
        begun = self._now()
        self._other()
        other, theirs = self._now() - begun, self._peak()
        self.peaks = max(self.peaks[0], mine), max(self.peaks[1], theirs)
        self._begun = self._now()
        return 1e3 * ours, 1e3 * other

    def _now(self) -> float:
        """Reads the clock once all that was begun is done."""
        if self._on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _peak(self) -> float:
        """Returns the most bytes that were held since the last call."""
        if not self._on_gpu:
            return 0.0
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak


def train_by_turns(
    module: nn.Module, losses_of: LossesOf, batch: Batch, turns: Turns, *, precision: Precision
) -> None:
    """Runs the training loop over one batch that is on the device, by turns with another step."""
    count = len(batch.sizes)
    # So low a rate that the weights, and with them the number of proposals, stay what they are.
    regime = TrainingSettings(
        epochs=1, batch=count, lr=1e-6, schedule="cosine", warmup=0, precision=precision
    )
    plan = [[Sample(image, LARGEST) for image in range(count)]] * turns.steps
    course = Course("fast", regime, lambda _: plan, Stream((0, "fast")))
    with listening(lambda stage, done, total, note: turns.after(done)):
        train(module, [losses_of], course=course, loader=cast(BatchLoader, _Same(batch)))


class _Same:
    """Gives the same batch again and again, as a loader would that costs nothing."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def batches(self, plan: Plan) -> Iterator[Batch]:
        return iter([self._batch] * len(plan))
