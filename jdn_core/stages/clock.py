"""What one step of each kind costs on this device: the trainings themselves, of one step each, on a clock.

Steps are measured at the smallest and the largest frame, the smallest once before the clock runs; their time
is taken to be linear in pixels, so the mean over all frames follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.data.loading import BatchLoader
from jdn_core.detector.build import Detector
from jdn_core.detector.trunk import Trunk
from jdn_core.evaluation.detection import EVALUATION_BATCH, evaluate
from jdn_core.pool.extraction import extract
from jdn_core.pool.shrinking import Phase
from jdn_core.pool.supernet import SuperNet
from jdn_core.settings.distillation import DistillationSettings
from jdn_core.settings.training import TrainingSettings
from jdn_core.space.architecture import Resolution
from jdn_core.space.teachers import SubnetSpace
from jdn_core.stages.base_training import fit_base
from jdn_core.stages.bench import Bench
from jdn_core.stages.pool_phase import fit_phase
from jdn_core.stages.student_training import fit_student
from jdn_core.training.resolutions import evaluation_plan

_RATE = 1e-6  # so small that no step breaks fresh weights
TimedStep = Callable[[Bench], float]
R = TypeVar("R", bound=TrainingSettings)


@dataclass(frozen=True)
class Regimes:
    """The trainings whose steps are measured."""

    base: TrainingSettings
    phases: Sequence[Phase]
    evaluation: TrainingSettings
    distillation: DistillationSettings


def seconds_per_photo(
    detector: Detector, supernet: SuperNet, bench: Bench, *, regimes: Regimes
) -> dict[str, float]:
    """Measures one step of each kind; returns seconds for one photo, the mean over all frames.

    ``evaluation`` is detection and AP of a validation photo, ``reading`` the decoding of a photo.

    Args:
        detector: the base, on the bench's device; its weights are spoilt.
        supernet: the pool's, on the device; its weights are spoilt.
        bench: data and device.
        regimes: of all trainings; their batches count, not their epochs.
    """
    timed = _Timed(detector, supernet, bench, regimes)
    batches = {
        "base": regimes.base.batch,
        "pool": regimes.phases[0].training.batch,
        "shrinking": regimes.phases[-1].training.batch,
        "distilled": regimes.evaluation.batch,
    }
    steps: dict[str, TimedStep] = {
        "base": timed.base,
        "pool": timed.pool,
        "shrinking": timed.shrinking,
        "distilled": timed.distilled,
    }
    found: dict[str, float] = {}
    for kind, step in steps.items():
        found[kind] = _mean(bench, step, photos=batches[kind])
    seen = min(EVALUATION_BATCH, len(bench.val.dataset.images))
    found["evaluation"] = _mean(bench, timed.evaluation, photos=seen)
    found["reading"] = _reading(bench)
    return found


@dataclass(frozen=True, eq=False)
class _Timed:
    """A step of each kind on a bench of a few photos and one frame; each gives its seconds."""

    detector: Detector
    supernet: SuperNet
    whole: Bench
    regimes: Regimes

    def base(self, bench: Bench) -> float:
        regime = _one_step(self.regimes.base)
        return fit_base(lambda: self.detector, bench, regime=regime, sparsity=1e-5)[1].seconds

    def pool(self, bench: Bench) -> float:
        first = self.regimes.phases[0]
        return self._phase(first, bench, None)

    def shrinking(self, bench: Bench) -> float:
        """Times a subnet half way between the smallest and the largest, under the largest."""
        last = self.regimes.phases[-1]
        teacher = extract(self.supernet, self.supernet.space.largest)
        half_way = replace(last, space=middle(last.space))
        seconds = self._phase(half_way, bench, teacher if len(self.regimes.phases) > 1 else None)
        return seconds * last.draws

    def distilled(self, bench: Bench) -> float:
        regimes = self.regimes
        return fit_student(
            Trunk(self.detector),
            extract(self.supernet, middle(self.supernet.space).largest),
            bench,
            stream=bench.stream.child("clock", 0),
            regime=_one_step(regimes.evaluation),
            distillation=regimes.distillation,
        ).seconds

    def evaluation(self, bench: Bench) -> float:
        started = time.monotonic()
        evaluate(self.detector, bench.val, bench.frames)
        return time.monotonic() - started

    def _phase(self, phase: Phase, bench: Bench, teacher: Detector | None) -> float:
        one = replace(phase, training=_one_step(phase.training))
        weights = self.regimes.distillation
        return fit_phase(self.supernet, one, bench, teacher=teacher, distillation=weights, sort=False).seconds


def middle(space: SubnetSpace) -> SubnetSpace:
    """Returns the space of one subnet: half of the blocks that may be absent, the middle of the widths."""
    (a, b, c, d) = ((least + most) // 2 for least, most in space.depths)
    width = space.widths[len(space.widths) // 2]
    return replace(space, depths=((a, a), (b, b), (c, c), (d, d)), widths=(width,))


def _one_step(regime: R) -> R:
    return regime.model_copy(update={"epochs": 1, "lr": _RATE, "warmup": 0})


def _mean(bench: Bench, step: TimedStep, *, photos: int) -> float:
    """Returns a step's seconds for one photo: the mean over the frames, by their pixels."""
    ends = list(dict.fromkeys((bench.frames[0], bench.frames[-1])))
    with _few(bench.train_set, photos) as train, _few(bench.val.dataset, photos) as val:
        at = {}
        for number, frame in enumerate([ends[0], *ends]):
            small = replace(bench, train=train, val=val, frames=(frame,))
            for loader in (train, val):
                _read(loader, frame)
            seconds = step(small)
            if number:
                at[frame.pixels] = seconds / photos
    return _at_mean(at, bench.frames)


def _at_mean(at: Mapping[int, float], frames: Sequence[Resolution]) -> float:
    """Returns the value at the frames' mean number of pixels, on the line through one or two points."""
    (low, first), *rest = sorted(at.items())
    if not rest:
        return first
    high, last = rest[0]
    share = (sum(frame.pixels for frame in frames) / len(frames) - low) / (high - low)
    return first + share * (last - first)


def _few(dataset: CocoDataset, photos: int) -> BatchLoader:
    return BatchLoader(replace(dataset, images=dataset.images[:photos]), cache_mb=1024)


def _read(loader: BatchLoader, frame: Resolution) -> None:
    count = len(loader.dataset.images)
    for _ in loader.batches(evaluation_plan(count, batch=count, resolution=frame)):
        pass


def _reading(bench: Bench) -> float:
    """Returns the seconds of reading a photo and resizing it to the largest frame."""
    with _few(bench.train_set, EVALUATION_BATCH) as loader:
        started = time.monotonic()
        _read(loader, bench.frames[-1])
        return (time.monotonic() - started) / len(loader.dataset.images)
