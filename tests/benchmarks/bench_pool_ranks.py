"""How much faster two processes train a pool than one, each on one thread."""

from __future__ import annotations

import os
import statistics
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from flows.inputs.settings_file import load, read_set
from jdn_core.data.shapes import generate
from jdn_core.processes.launcher import on_ranks
from jdn_core.processes.progress import listening
from jdn_core.processes.ranks import Ranks
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.settings.whole import Settings
from tests.benchmarks.conftest import Note

STEPS, BATCH, PAIRS = 12, 8, 3
PHASE = f"[{{name: supernet, epochs: 1, batch: {BATCH}, lr: 0.01, schedule: cosine}}]"


def settings_of(photos: Path) -> Settings:
    """The preset bccd_cpu at its largest frame and twice its batch: the super-network alone, one epoch."""
    changes = {"data.root": photos, "data.resolutions": "[320x240]", "threads": 1, "pool.phases": PHASE}
    return load("bccd_cpu", read_set(f"{name}={value}" for name, value in changes.items()))


def seconds(ranks: Ranks, run: Run) -> tuple[float, float]:
    """An epoch but for its first step: by the clock, and by the processor on the longest way through it."""
    ends: list[tuple[float, float]] = []
    with listening(lambda *_: ends.append((time.monotonic(), time.process_time()))):
        steps.fit_phase_on_rank(ranks, run, 0)
    clock, busy = zip(*ends, strict=True)
    table = torch.zeros(ranks.count, len(busy) - 1)
    table[ranks.number] = torch.tensor([after - before for before, after in pairwise(busy)])
    longest = ranks.add_losses({"steps": table})["steps"].amax(dim=0).sum().item()
    return clock[-1] - clock[0], longest


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processes need two cores")
@pytest.mark.timeout(900)
def test_two_processes_train_a_pool_on_two_cores(note: Note, tmp_path: Path) -> None:
    photos, images = tmp_path / "photos", (STEPS - 1) * BATCH
    generate(photos, images=STEPS * BATCH * 5 // 4, size=320, seed=0)
    settings, shares = settings_of(photos), []
    for pair in range(PAIRS):
        found = {}
        for count in (1, 2) if pair % 2 else (2, 1):
            found[count] = on_ranks(seconds, Run(settings, tmp_path / f"{pair}-{count}"), count=count)
        note("pool training in one process of one thread", images / found[1][0], "images/s")
        note("pool training in two processes of one thread each", images / found[2][0], "images/s")
        shares.append([two / one for one, two in zip(found[1], found[2], strict=True)])
    by_clock, by_processor = (statistics.median(kind) for kind in zip(*shares, strict=True))
    note("two processes' processor time on the longest way, of one's", by_processor, "", bound=1 / 1.6)
    note("two processes' time by the clock, of one's", by_clock, "", bound=1 / 1.6)
