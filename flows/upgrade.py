"""The whole upgrade: train a base and a pool, search student-teacher pairs, write the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.estimating import announce
from flows.launch.opening import hired, opened, require_room
from flows.search import climb, with_publication
from flows.train_pool import train_phases
from jdn_core.run.estimates import clocked
from jdn_core.settings.whole import Settings
from tasks.base import train_base
from tasks.data import check_data
from tasks.estimates import estimate
from tasks.orchestration import flow_run
from tasks.orchestration.work_pool import find_deployment
from tasks.tracking import Publisher


@flow(name="upgrade", validate_parameters=False)
def upgrade(settings: Settings, out: Path) -> dict[str, Any]:
    """Goes from settings and data to a better, cheaper detector; goes on where the folder's work ends."""
    with (
        opened(settings, out) as run,
        Publisher(run, flow_run=flow_run.current()) as publisher,
        hired(settings) as workers,
    ):
        deployment = find_deployment(run)  # fails now, not after hours of training
        check_data(run)
        require_room(run)
        announce(estimate(run, workers))
        with clocked(run, "base"):
            train_base(run, workers)
        publisher.look()
        with clocked(run, "pool"):
            train_phases(run, publisher, workers)
        found = climb(run, publisher, workers, deployment)
    return with_publication(found, publisher)
