"""The elastic teacher pool, one phase of integrated progressive shrinking at a time."""

from __future__ import annotations

from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core import assemble, durable, stages
from jdn_core.detector.build import Detector
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import load_pool, save_pool
from jdn_core.pool.supernet import SuperNet
from tasks.base import TRAINING_FILE
from tasks.run import Run


@task(name="train ETP phase", task_run_name="train ETP phase {index}", cache_policy=NO_CACHE)
def train_etp_phase(run: Run, index: int) -> Path:
    """Trains a phase from where the one before ended, unless it is there already.

    The frozen super-network of the first phase is the teacher of all others (paper, section 3.1.3).
    """
    folder = run.phase(index)
    if not folder.is_dir():
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


def _supernet(run: Run, index: int) -> SuperNet:
    """The super-network as the phase before left it; a fresh one before the first phase."""
    if index:
        return load_pool(run.phase(index - 1))
    settings = run.settings
    bench = assemble.bench(settings)
    bench.stream.child("pool", "weights").seed_torch()
    template = assemble.base_spec(settings.detector, settings.data, bench.train_set.categories)
    return SuperNet(assemble.subnet_space(settings.pool), template)


def _largest(run: Run, device: torch.device) -> Detector:
    """The super-network of the first phase as a plain detector."""
    supernet = load_pool(run.phase(0))
    return extract(supernet, supernet.space.largest).to(device)
