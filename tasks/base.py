"""The base detector: trained from scratch or a checkpoint, or taken from a folder, and recorded as pair 0."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.processes.attempts import insist
from jdn_core.processes.workers import Workers
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord


@task(name="train base", cache_policy=NO_CACHE)
def train_base(run: Run, workers: Workers) -> Path:
    """Trains the base, unless it is there already."""
    return insist(workers, steps.ensure_base, run)


@task(name="evaluate base", cache_policy=NO_CACHE)
def evaluate_base(run: Run, workers: Workers) -> PairRecord:
    """Measures the base and commits it as pair 0, unless it is there already."""
    return insist(workers, steps.ensure_base_record, run)
