"""The elastic teacher pool by itself: every phase of integrated progressive shrinking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.launch.opening import hired, opened
from jdn_core.processes.workers import Workers
from jdn_core.run.folder import Run
from jdn_core.run.report import pool_summary
from jdn_core.settings.whole import Settings
from tasks.base import train_base
from tasks.data import check_data
from tasks.orchestration import flow_run
from tasks.pool import assess_etp_phase, train_etp_phase
from tasks.tracking import Publisher


@flow(name="train-pool", validate_parameters=False)
def train_pool(settings: Settings, out: Path) -> dict[str, Any]:
    """Trains a pool into ``out/pool``; one that starts as the base has a base beside it, trained first."""
    with (
        opened(settings, out) as run,
        Publisher(run, flow_run=flow_run.current()) as publisher,
        hired(settings) as workers,
    ):
        check_data(run)
        if settings.pool.start == "base":
            train_base(run, workers)
        train_phases(run, publisher, workers)
        return pool_summary(run)


def train_phases(run: Run, publisher: Publisher, workers: Workers) -> None:
    """Trains the phases that are not done yet, in order; none where the pool is there."""
    for index in range(len(run.settings.pool.phases)):
        train_etp_phase(run, index, workers)
        publisher.look()
        if run.settings.pool.assessed_subnets:
            assess_etp_phase(run, index, workers)
            publisher.look()
