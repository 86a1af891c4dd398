"""A study that trains: base, pool, searches and arms of each seed, then what their differences say."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect import flow

from flows.console import say
from flows.inputs import settings_file
from flows.launch.opening import hired
from flows.launch.trained import take_stage
from flows.search import search
from flows.studies.opening import opened
from jdn_core.processes.workers import Workers
from jdn_core.run.file_names import SETTINGS_FILE
from jdn_core.run.folder import Run
from jdn_core.storage import durable
from jdn_core.studies import results
from jdn_core.studies.answer import Trained, read
from jdn_core.studies.arms import Arm, Searched
from jdn_core.studies.folder import StudyFolder
from jdn_core.studies.results import ArmResult
from jdn_core.studies.study import Study
from tasks.base import train_base
from tasks.data import check_data
from tasks.pool import train_etp_phase
from tasks.studies import compare_arms, train_arm, write_page
from tasks.tracking import send_study

FINISHED_FILE, SCHEMA = "finished.json", 1  # of a search that an arm begins with


class OutOfTime(Exception):
    """The time that was given is over; what is trained is kept."""


def run(studies: StudyFolder, study: Study, *, seeds: int, deadline: float | None = None) -> dict[str, Any]:
    """Runs a study as a flow of its own name.

    Args:
        studies: the folder; base, pool, searches and arms in it are not trained again.
        study: which one.
        seeds: of trainings, >= 1; more of them add to those that are there.
        deadline: of ``time.monotonic()``, after which no training begins; none: no limit.

    Raises:
        OutOfTime: the deadline passed.
    """
    named = _study.with_options(name=f"study-{study.name}")
    return named(studies, study, seeds, deadline)


def unfinished(studies: StudyFolder, study: Study) -> dict[str, Any]:
    """Returns what stands for a study that ran out of time: its answer of before, or that there is none."""
    empty: dict[str, Any] = {
        "verdict": "not finished",
        "difference": None,
        "interval": None,
        "rows": [],
        "comparisons": [],
    }
    head = {"study": study.name, "label": study.label, "claim": study.claim, "paper": study.number}
    found = read(studies.study(study.name)) or {**head, **empty, "seeds": 0, "seconds": 0.0}
    return found | {"out": str(studies.folder)}


@flow(name="study", validate_parameters=False)
def _study(studies: StudyFolder, study: Study, seeds: int, deadline: float | None) -> dict[str, Any]:
    """Trains what is missing, and compares."""
    started = time.monotonic()
    with opened(studies), hired(studies.settings) as workers:
        by_seed = [_seed(studies, study, seed, workers, deadline) for seed in range(seeds)]
        found = compare_arms(studies, study, by_seed, time.monotonic() - started)
        page = write_page(studies.study(study.name), found)
        told = send_study(studies, by_seed, found)
    return found | {"out": str(studies.folder), "page": str(page), "mlflow": told}


def _seed(studies: StudyFolder, study: Study, seed: int, workers: Workers, deadline: float | None) -> Trained:
    """Trains all arms of a seed, stage by stage, for later ones may depend on earlier results."""
    run = studies.run(seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    _check_time(deadline)
    check_data(run)
    train_base(run, workers)
    trained: dict[str, tuple[Arm, ArmResult]] = {}
    for stage in study.stages:
        known = {name: result for name, (_, result) in trained.items()}
        for arm in stage(run.settings, known):
            if results.read(studies.arm(seed, arm), key=arm.key) is None:
                _check_time(deadline)
                say(f"{study.name}, seed {run.settings.seed}: {arm.name}")
                _provide(studies, seed, arm, workers)
            trained[arm.name] = arm, train_arm(studies, seed, arm, workers)
    return trained


def _provide(studies: StudyFolder, seed: int, arm: Arm, workers: Workers) -> None:
    """Trains the pool and runs the search that an arm begins with, unless they are there."""
    if arm.needs_pool:
        run = studies.run(seed)
        for index in range(len(run.settings.pool.phases)):
            train_etp_phase(run, index, workers)
    if isinstance(arm.source, Searched):
        _searched(studies.run(seed), studies.search(seed, arm.source))


def _searched(trained: Run, run: Run) -> None:
    """Runs a search over the base and the pool of a seed to its end."""
    if (run.folder / FINISHED_FILE).is_file():
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    for stage in _missing(run.folder):
        take_stage(trained.folder, stage, run.folder)
    durable.write_bytes(run.folder / SETTINGS_FILE, settings_file.dump(run.settings).encode())
    found = search(run.settings, run.folder)
    durable.write_json(run.folder / FINISHED_FILE, {"pairs": found["pairs"]}, schema=SCHEMA)


def _missing(folder: Path) -> Iterator[str]:
    """Yields the stages that were not taken over yet; one that a kill cut short is taken again."""
    if not (folder / SETTINGS_FILE).is_file():  # it is written once both are there
        for stage in ("base", "pool"):
            shutil.rmtree(folder / stage, ignore_errors=True)
            yield stage


def _check_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise OutOfTime
