"""What stands beside a search's winner: controls, the winner finished, and held-out photos."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.processes.attempts import Failure, attempt, insist
from jdn_core.processes.workers import Workers
from jdn_core.run import controls, outcome
from jdn_core.run.folder import Run
from jdn_core.search.contenders import Contender, ContenderRecord
from jdn_core.search.held_out import HeldOut
from tasks.tracking import restore_files


@task(name="train control", task_run_name="train control: {contender.name}", cache_policy=NO_CACHE)
def train_control(run: Run, contender: Contender, workers: Workers) -> ContenderRecord:
    """Trains a control, or the winner to its end, unless that is done; a failure is a record too."""
    if contender.pair is not None:
        restore_files(run, contender.pair)
    record = attempt(workers, controls.ensure_contender, run, contender)
    return controls.commit_failure(run, contender, record.reason) if isinstance(record, Failure) else record


@task(name="measure held-out photos", cache_policy=NO_CACHE)
def measure_held_out(run: Run, workers: Workers) -> HeldOut | None:
    """Measures base, winner and controls on the photos that the search never saw, unless that is done."""
    return insist(workers, outcome.ensure_held_out, run)
