"""What the upgrade will take: measured once, before its first stage."""

from __future__ import annotations

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.processes.attempts import Failure, attempt
from jdn_core.processes.workers import Workers
from jdn_core.run import estimates
from jdn_core.run.estimates import Estimate
from jdn_core.run.folder import Run

logger = logging.getLogger(__name__)


@task(name="estimate", cache_policy=NO_CACHE)
def estimate(run: Run, workers: Workers) -> Estimate | None:
    """Measures a step of each kind, unless that is done; none where no step fits, which is said."""
    if run.base.is_dir():  # a run that began before there were estimates
        return estimates.read(run)
    found = attempt(workers, estimates.ensure, run)
    if isinstance(found, Failure):
        logger.warning("no estimate of time and disk: %s", found.reason)
        return None
    return found
