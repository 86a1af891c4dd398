"""The elastic teacher pool, one phase of integrated progressive shrinking at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core import assemble, durable, stages
from jdn_core.detector.build import Detector
from jdn_core.errors import DataError, Problem, SettingsError
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import load_pool, load_pool_spec, save_pool
from jdn_core.pool.supernet import SuperNet
from tasks.run import TRAINING_FILE, Run


@task(name="train ETP phase", task_run_name="train ETP phase {index}", cache_policy=NO_CACHE)
def train_etp_phase(run: Run, index: int) -> Path:
    """Trains a phase from where the one before ended, unless it is there already.

    The frozen super-network of the first phase is the teacher of all others (paper, section 3.1.3).
    """
    folder = run.phase(index)
    if not folder.is_dir() and not run.pool.is_dir():
        bench = assemble.bench(run.settings)
        phase = assemble.phases(run.settings.pool)[index]
        supernet = _supernet(run, index).to(bench.device)
        training = stages.train_phase(
            supernet,
            phase,
            bench,
            teacher=_largest(run, bench.device) if index else None,
            distillation=run.settings.distillation,
            checkpoints=run.checkpoints("pool", phase.name),
        )
        staged = durable.stage_folder(folder)
        save_pool(supernet, staged, settings=run.settings.pool.model_dump(mode="json"))
        durable.write_json(staged / TRAINING_FILE, training._asdict())
        durable.commit_folder(staged, folder)
    return folder


@task(name="check pool", cache_policy=NO_CACHE)
def check_pool(run: Run) -> None:
    """Raises where a pool from elsewhere is not the one that the settings and the data ask for.

    Raises:
        SettingsError: it has other subnets.
        DataError: it tells other classes apart.
    """
    spec, space = load_pool_spec(run.pool), assemble.subnet_space(run.settings.pool)
    classes = assemble.classes(assemble.bench(run.settings).train_set)
    if spec.template.classes != classes:
        raise DataError(f"the pool knows the classes {spec.template.classes}, the dataset has {classes}")
    if spec.space != space:
        remedy = "copy pool.space from the settings that the pool was trained under"
        raise SettingsError.of(
            [Problem("settings", "pool.space", f"the pool has {spec.space}", str(space), remedy)]
        )


def pool_summary(run: Run) -> dict[str, Any]:
    """What a pool is, for people and scripts."""
    space = load_pool_spec(run.pool).space
    subnets = {"largest": str(space.largest), "smallest": str(space.smallest)}
    return {
        "out": str(run.folder),
        "pool": str(run.pool),
        "size": space.size(len(run.settings.data.frames)),
        **subnets,
    }


def _supernet(run: Run, index: int) -> SuperNet:
    """The super-network as the phase before left it; a fresh one before the first phase."""
    if index:
        return load_pool(run.phase(index - 1))
    settings = run.settings
    assemble.bench(settings).stream.child("pool", "weights").seed_torch()
    return SuperNet(assemble.subnet_space(settings.pool), assemble.base_spec(settings))


def _largest(run: Run, device: torch.device) -> Detector:
    """The super-network of the first phase as a plain detector."""
    supernet = load_pool(run.phase(0))
    return extract(supernet, supernet.space.largest).to(device)
