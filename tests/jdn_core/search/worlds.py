"""A world without training: AP is a function of the architectures, and costs are counted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from jdn_core.search.hill_climbing import ClimbRules, first_pair
from jdn_core.search.pairs import Evaluation, Measurement, Pair, PairRecord, Timing
from jdn_core.settings.search import ScoreSettings, SearchSettings
from jdn_core.space.actions import removable
from jdn_core.space.architecture import BackboneSpec, DetectorSpec, Resolution
from jdn_core.space.families import family
from jdn_core.space.notation import format_backbone
from jdn_core.space.teachers import SubnetSpace

FRAMES = (Resolution(64, 48), Resolution(96, 72), Resolution(128, 96))
SPACE = SubnetSpace(((1, 2), (1, 2), (1, 3), (1, 2)), (1.0, 1.5), width=0.125, neck=16, head=32)
BASE = DetectorSpec(family("r18", width=0.25), ((1, "thing"),), neck=16, head=32, resolution=FRAMES[-1])
SHARES = (0.05, 0.2)
MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # where a sync waits for no disk


def rules(**changes: Any) -> ClimbRules:
    """Rules whose own values, and those of their section of settings, are changed by name."""
    own = {name: changes.pop(name) for name in ("seed", "score", "space") if name in changes}
    search = SearchSettings(**{"frozen_student_iterations": 2, "prune_shares": SHARES, **changes})
    return replace(ClimbRules("world", 0, ScoreSettings(), SPACE, search), **own)


def cost(spec: BackboneSpec) -> int:
    """Products of neighbouring widths, summed: near enough to MACs to climb on."""
    return sum(a * b for _, _, block in spec.blocks() for a, b in pairwise(block.channels))


def prunings(spec: BackboneSpec) -> dict[str, BackboneSpec]:
    """Cuts the inner widths by each share, and takes the last block that may go."""
    found = {}
    for share in SHARES:
        thin = [
            tuple(
                replace(b, channels=(max(1, int(b.channels[0] * (1 - share))), *b.channels[1:]))
                for b in stage
            )
            for stage in spec.stages
        ]
        found[f"prune_channels:{share}"] = replace(spec, stages=tuple(thin))
    if places := removable(spec):
        stage, position = places[-1]
        blocks = spec.stages[stage]
        rest = (*blocks[:position], *blocks[position + 1 :])
        found["prune_layer"] = replace(spec, stages=(*spec.stages[:stage], rest, *spec.stages[stage + 1 :]))
    return found


def evaluation(
    aps: Mapping[Resolution, float], macs: Mapping[Resolution, int], spec: BackboneSpec = BASE.backbone
) -> Evaluation:
    measurements = tuple(Measurement(frame, {"AP": aps[frame], "AP50": -1.0}, macs[frame]) for frame in aps)
    foreseen = {name: backbone.pack() for name, backbone in prunings(spec).items()}
    timing = Timing({str(frame): 2.5 for frame in aps}, 1.5, 1e9, "cpu", 1)
    return Evaluation(measurements, 1000, {"loss": (2.0, 1.0)}, foreseen, "0" * 64, timing)


def evaluate(pair: Pair, *, failing: frozenset[int] = frozenset()) -> PairRecord:
    """What a training would have found; the pairs with the indices ``failing`` diverge."""
    if pair.index in failing:
        return PairRecord(pair, "failed", reason="nan: epoch 1 step 1")
    spec = pair.student.backbone
    # Drawn from texts, not from JSON, so that the world stays the same when a file format changes.
    luck = Random(f"{format_backbone(spec)} {pair.teacher}").random()
    ap = 0.3 + 0.05 * luck + 0.02 * (cost(spec) / cost(BASE.backbone)) ** 0.3
    aps = {frame: ap * (frame.pixels / FRAMES[-1].pixels) ** 0.2 for frame in FRAMES}
    macs = {frame: (cost(spec) + 5000) * frame.pixels for frame in FRAMES}
    return PairRecord(pair, "done", evaluation(aps, macs, spec))


def start(**changes: Any) -> tuple[ClimbRules, PairRecord]:
    """Rules and the base's record."""
    climb = rules(**changes)
    return climb, evaluate(first_pair(climb, BASE))
