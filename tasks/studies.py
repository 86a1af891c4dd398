"""Studies: an arm under one seed, and what all of them say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.processes.attempts import Failure, attempt
from jdn_core.processes.workers import Workers
from jdn_core.reports import study_page
from jdn_core.run.folder import Run
from jdn_core.studies import answer, read, trainings
from jdn_core.studies.arms import Arm
from jdn_core.studies.folder import PAGE_FILE, StudyFolder
from jdn_core.studies.read import Reader
from jdn_core.studies.results import ArmResult
from jdn_core.studies.study import Study


@task(name="train arm", task_run_name="train arm: {arm.name}, seed {seed}", cache_policy=NO_CACHE)
def train_arm(studies: StudyFolder, seed: int, arm: Arm, workers: Workers) -> ArmResult:
    """Trains and measures an arm, unless that is done; a failure is a result too."""
    result = attempt(workers, trainings.ensure_arm, studies, seed, arm)
    if isinstance(result, Failure):
        return trainings.commit_failure(studies, seed, arm, result.reason)
    return result


@task(name="compare arms", cache_policy=NO_CACHE)
def compare_arms(
    studies: StudyFolder, study: Study, by_seed: Sequence[answer.Trained], seconds: float
) -> dict[str, Any]:
    """Compares the arms and writes the answer."""
    found = answer.conclude(studies, study, by_seed)
    return answer.keep(found, studies.study(study.name), seconds=seconds)


@task(name="read searches", cache_policy=NO_CACHE)
def read_searches(reader: Reader, runs: Sequence[Run], folder: Path) -> dict[str, Any]:
    """Reads finished searches and writes the answer."""
    started = time.monotonic()
    return answer.keep(read.conclude(reader, runs), folder, seconds=time.monotonic() - started)


@task(name="write study's page", cache_policy=NO_CACHE)
def write_page(folder: Path, found: dict[str, Any]) -> Path:
    """Writes ``index.html``, which stands by itself."""
    return study_page.write(found, folder / PAGE_FILE)
