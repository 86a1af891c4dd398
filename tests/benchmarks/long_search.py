"""A search of 10,000 pairs such as the preset ``bccd_cpu`` makes, and its resume in a process of its own."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypeVar

from jdn_core.search.hill_climbing import ClimbRules, HillClimber, first_pair
from jdn_core.search.pairs import Evaluation, Measurement, Pair, PairRecord, Timing
from jdn_core.search.records import RECORD_FILE, Records
from jdn_core.search.retention import needed
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings, SearchSettings
from jdn_core.space.actions import AddLayer, Rearrange, apply, key, legal
from jdn_core.space.architecture import BackboneSpec, DetectorSpec, Resolution
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace
from jdn_core.storage import seals
from jdn_core.storage.canonical import canonical_json
from tests.made_up_search import COCO

T = TypeVar("T")
PAIRS = 10_000
FRAMES = (Resolution(192, 144), Resolution(256, 192), Resolution(320, 240))
LOSSES = ("box_reg", "classifier", "cls_kd", "feature", "loc_kd", "objectness", "rpn_box_reg", "sparsity")
AHEAD = {"prune_channels:0.08": 0.92, "prune_channels:0.15": 0.85, "prune_layer": 1.0}
CLASSES = ((0, "Platelets"), (1, "RBC"), (2, "WBC"))
BASE = DetectorSpec(family("r18", width=0.5), CLASSES, neck=64, head=128, resolution=FRAMES[-1])
RULES = ClimbRules(
    "bccd_cpu",
    47,
    ScoreSettings(alpha=0.2),
    SubnetSpace(((1, 2), (1, 3), (2, 4), (1, 2)), width=0.25, neck=48, head=128),
    SearchSettings(prune_shares=(0.08, 0.15)),
)


def make(folder: Path, count: int) -> None:
    """Writes ``count`` records, each one step from an earlier one."""
    draw = Random(0)
    pairs = [first_pair(RULES, BASE)]
    while len(pairs) < count:
        pairs.append(child(draw.choice(pairs), len(pairs), draw))
    for pair in pairs:
        keep(evaluated(pair, draw), folder)


def evaluated(pair: Pair, draw: Random) -> PairRecord:
    """A record as those of the preset ``bccd_cpu`` are, with all digits of every number."""
    measurements = tuple(
        Measurement(frame, {name: draw.random() for name in COCO}, draw.randrange(10**9)) for frame in FRAMES
    )
    losses = {f"loss_{name}": (draw.random(), draw.random(), draw.random()) for name in LOSSES}
    spec = pair.student.backbone
    prunings = {name: thinner(spec, factor).pack() for name, factor in AHEAD.items()}
    timing = Timing({str(frame): 30 * draw.random() for frame in FRAMES}, 46.2, 1.79e9, "cpu", 2)
    evaluation = Evaluation(measurements, 1_391_765, losses, prunings, draw.randbytes(32).hex(), timing)
    files = {name: draw.randbytes(32).hex() for name in ("detections.png", "detector.json", "weights")}
    return PairRecord(pair, "done", evaluation, files=files)


def thinner(spec: BackboneSpec, factor: float) -> BackboneSpec:
    stages = [
        tuple(replace(b, channels=(max(1, int(b.channels[0] * factor)), *b.channels[1:])) for b in blocks)
        for blocks in spec.stages
    ]
    return replace(spec, stages=tuple(stages))


def child(parent: Pair, index: int, draw: Random) -> Pair:
    """One step from the parent, on either side."""
    step = replace(parent, index=index, parent=parent.key)
    if draw.random() < 0.5:
        mutation, teacher = draw.choice(RULES.space.mutations(parent.teacher))
        return replace(step, action=mutation, teacher=teacher)
    spec = parent.student
    action = draw.choice(legal(spec, prune_shares=RULES.search.prune_shares))
    if isinstance(action, AddLayer | Rearrange):
        return replace(step, action=key(action), student=apply(spec, action))
    return replace(step, action=key(action), student=replace(spec, backbone=thinner(spec.backbone, 0.97)))


def keep(record: PairRecord, folder: Path) -> None:
    """Writes the record as a commit does, without a wait for the disk."""
    place = folder / "pairs" / record.pair.key
    place.mkdir(parents=True)
    (place / RECORD_FILE).write_text(seals.sealed(canonical_json(record.to_json())) + "\n")


def clocked(work: Callable[[], T]) -> tuple[T, float]:
    """Seconds of this process, which other processes on the machine do not lengthen."""
    start = time.process_time()
    value = work()
    return value, time.process_time() - start


def main(folder: Path) -> dict[str, float]:
    """Seconds of a resume, and of what the pair after it costs: records, rank, retention, proposal."""
    records = Records(folder)
    found, reading = clocked(records.all)
    climber, climbing = clocked(lambda: HillClimber(RULES, found))
    pair, asking = clocked(climber.ask)
    assert pair is not None
    standing, grading = clocked(lambda: Standing(RULES.score, found))
    record = evaluated(pair, Random(1))
    keep(record, folder)
    climber.tell(record)
    gc.collect()  # what the resume left to collect would fall on one of the figures that follow
    known, listing = clocked(records.all)
    assert known == (*found, record)
    _, ranking = clocked(lambda: (standing.add(record), standing.best(RULES.search.top_k)))
    horizon = RULES.horizon(climber.next_index)
    best, pending, k = standing.best(RULES.search.top_k), climber.pending, RULES.search.top_k
    _, keeping = clocked(lambda: needed(standing, pending, best=best, top_k=k, horizon=horizon))
    _, next_asking = clocked(climber.ask)
    return {
        "read": reading,
        "climb": climbing,
        "ask": asking,
        "grade": grading,
        "next records": listing,
        "next rank": ranking,
        "next retention": keeping,
        "next ask": next_asking,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
