"""The pool's subnets by themselves: AP of one, of some, and the evolutionary search among all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

from jdn_core.detector.build import Detector
from jdn_core.evaluation.complexity import complexity
from jdn_core.evaluation.detection import evaluate
from jdn_core.pool.shrinking import Phase
from jdn_core.pool.supernet import SuperNet
from jdn_core.processes.progress import report
from jdn_core.search.evolution import EvolutionRules, breed, ranked
from jdn_core.search.phases import Assessment
from jdn_core.search.subnets import SubnetRecord, SubnetRecords
from jdn_core.space.architecture import Resolution
from jdn_core.space.teachers import SubnetSpec
from jdn_core.stages.bench import Bench
from jdn_core.stages.pool_phase import calibrated_teacher


def assess(
    detector: Detector, subnet: SubnetSpec, bench: Bench, *, frames: Sequence[Resolution]
) -> SubnetRecord:
    """Measures AP of a subnet's own detector on ``bench.val`` at every frame, and its cost.

    Args:
        detector: the subnet extracted, with or without BN reset; put into eval mode and left there.
        subnet: what it is called.
        bench: data and device.
        frames: one at least.
    """
    found = evaluate(detector, bench.val, frames)
    costs = {frame: complexity(detector.spec, frame) for frame in frames}
    return SubnetRecord(
        subnet,
        ap={str(frame): numbers.AP for frame, numbers in found.items()},
        macs={str(frame): cost.macs for frame, cost in costs.items()},
        params=costs[frames[0]].params,
    )


def assess_phase(supernet: SuperNet, phase: Phase, bench: Bench, *, draws: int, images: int) -> Assessment:
    """Measures AP after BN reset of the phase's largest and smallest subnet and of some random ones (ours).

    A phase with one subnet has only a largest. The draws are children of the run's stream that nothing else
    takes, so no result depends on how many there are.

    Args:
        supernet: as the phase left it; it stays as it is.
        phase: whose subnets are meant.
        bench: the train split resets BN, the val split gives AP, at the largest frame.
        draws: how many random ones; a subnet that is drawn twice is evaluated once.
        images: of the calibration set.
    """

    @cache  # largest, smallest and a random draw may be the same subnet
    def record_of(subnet: SubnetSpec) -> SubnetRecord:
        detector = calibrated_teacher(supernet, subnet, bench, images=images)
        return assess(detector, subnet, bench, frames=bench.frames[-1:])

    space, stream = phase.space, bench.stream.child("assess", phase.name)
    if space.smallest == space.largest:
        return {"largest": (record_of(space.largest),)}
    drawn = [space.draw(Random(stream.child(number).seed)) for number in range(draws)]
    kinds = {"largest": [space.largest], "smallest": [space.smallest], "random": drawn}
    return {kind: tuple(map(record_of, subnets)) for kind, subnets in kinds.items() if subnets}


def search_pool(
    supernet: SuperNet,
    bench: Bench,
    *,
    rules: EvolutionRules,
    generations: int,
    images: int,
    records: SubnetRecords,
) -> tuple[SubnetRecord, ...]:
    """Searches the pool itself by evolution (paper, Table 10) and returns its subnets, best first.

    A subnet whose record is there is not evaluated again, so a search that was cut off goes on where it was.

    Args:
        supernet: the pool, which stays as it is.
        bench: the train split resets BN, the val split gives AP.
        rules: which subnets are tried.
        generations: how often; more of them begin with the same subnets.
        images: of the calibration set.
        records: filled on the way.
    """
    known: list[SubnetRecord] = []
    for number in range(generations):
        children = breed(rules, number, known=known)
        graded = []
        for place, subnet in enumerate(children, start=1):
            record = records.get(subnet)
            if record is None:
                detector = calibrated_teacher(supernet, subnet, bench, images=images)
                record = assess(detector, subnet, bench, frames=rules.affordable(subnet))
                records.put(record)
            graded.append(record)
            best = ranked([*known, *graded])[0]
            note = f"generation {number + 1}/{generations} best AP {best.ap[best.resolution]:.4f}"
            report("pool search", number * rules.population + place, generations * rules.population, note)
        known += graded
    return ranked(known)
