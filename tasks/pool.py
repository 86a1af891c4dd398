"""The elastic teacher pool, one phase of integrated progressive shrinking at a time."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.detector.folder import load_spec
from jdn_core.pool.folder import load_pool_spec, require_like
from jdn_core.processes.attempts import insist
from jdn_core.processes.workers import Workers
from jdn_core.run import assemble, datasets, steps
from jdn_core.run.checks import require_pool
from jdn_core.run.folder import Run


@task(name="train ETP phase", task_run_name="train ETP phase {index}", cache_policy=NO_CACHE)
def train_etp_phase(run: Run, index: int, workers: Workers) -> Path:
    """Trains a phase from where the one before ended, unless it is there already."""
    return insist(workers, steps.ensure_phase, run, index)


@task(name="assess ETP phase", task_run_name="assess ETP phase {index}", cache_policy=NO_CACHE)
def assess_etp_phase(run: Run, index: int, workers: Workers) -> Path:
    """Measures the largest, the smallest and random subnets after a phase, unless that was done."""
    return insist(workers, steps.ensure_assessment, run, index)


@task(name="check pool", cache_policy=NO_CACHE)
def check_pool(run: Run) -> None:
    """Raises where a pool from elsewhere is not the one that the settings and the data ask for.

    Raises:
        SettingsError: it has other subnets, or sees or boxes pictures in another way than the base.
        DataError: it has other classes.
    """
    spec, train = load_pool_spec(run.pool), datasets.dataset(run.settings.data, "train")
    require_pool(spec, run.settings, assemble.classes(train))
    require_like(spec, load_spec(run.base))
