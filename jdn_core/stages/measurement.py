"""What the search wants to know of a trained detector: AP, cost, latency, and what pruning would leave."""

from __future__ import annotations

import time
from dataclasses import dataclass

from jdn_core.detector.build import Detector
from jdn_core.evaluation.complexity import complexity
from jdn_core.evaluation.detection import evaluate
from jdn_core.evaluation.latency import measure
from jdn_core.morphism.evolve import prunings
from jdn_core.search.pairs import Evaluation, Measurement, Timing
from jdn_core.stages.bench import Bench, Training


@dataclass(frozen=True)
class MeasurementRules:
    """How latency is measured, and the shares of channels whose pruning is looked ahead to."""

    latency_warmup: int
    latency_repeats: int
    prune_shares: tuple[float, ...]


def measure_detector(
    detector: Detector, bench: Bench, *, weights: str, training: Training, rules: MeasurementRules
) -> Evaluation:
    """Measures all that the search wants to know of a detector: AP, cost, latency, what pruning would leave.

    Args:
        detector: put into eval mode and left there.
        bench: data and device.
        weights: SHA-256 of the detector's weights on disk.
        training: what went before; where it can be gone on with, children are pruned by the raw weights, so
            the look ahead is at those too.
        rules: how latency is measured, and which prunings are looked ahead to.
    """
    costs = {frame: complexity(detector.spec, frame) for frame in bench.frames}
    found = evaluate(detector, bench.val, bench.frames)
    measurements = tuple(Measurement(f, numbers.twelve, costs[f].macs) for f, numbers in found.items())
    # One image at a time: latency is what a user of the detector waits for (ours).
    clocks = {
        frame: measure(detector, frame, warmup=rules.latency_warmup, repeats=rules.latency_repeats)
        for frame in bench.frames
    }
    timing = Timing(
        latency_ms={str(frame): clock.median_ms for frame, clock in clocks.items()},
        train_seconds=training.seconds,
        finished=time.time(),
        device=clocks[bench.frames[-1]].device,
        threads=clocks[bench.frames[-1]].threads,
    )
    parent = training.trunk.detector if training.trunk else detector
    ahead = {key: backbone.pack() for key, backbone in prunings(parent, rules.prune_shares).items()}
    return Evaluation(measurements, costs[bench.frames[-1]].params, training.losses, ahead, weights, timing)
