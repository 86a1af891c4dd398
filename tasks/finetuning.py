"""A detector of a search trained on after it (paper, Table 9)."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.processes.attempts import insist
from jdn_core.processes.workers import Workers
from jdn_core.run import finetuning
from jdn_core.run.folder import Run
from jdn_core.search.finetunings import FineTuned, FineTuning
from tasks.tracking import restore_files


@task(name="fine-tune", task_run_name="fine-tune {tuning.start}", cache_policy=NO_CACHE)
def fine_tune(run: Run, tuning: FineTuning, workers: Workers) -> FineTuned:
    """Trains a detector on and measures it before and after, unless that is done.

    A pair's weights that are damaged, or left for MLflow (``tracking.keep_weights``), are fetched from there.
    """
    if tuning.contender is None:
        restore_files(run, str(tuning.pair))
    return insist(workers, finetuning.ensure_finetuned, run, tuning)
