"""What a process keeps from job to job: the bench of one run, with its decoded images and loading processes.

The jobs of a run follow each other in a warm worker, so each finds the images that the one before decoded.
The bench belongs to the process: it is closed when a job of other settings comes, and when the process ends.
"""

from __future__ import annotations

from multiprocessing import util

import torch

from jdn_core.data.loading import BatchLoader
from jdn_core.processes import devices
from jdn_core.run import datasets
from jdn_core.settings.whole import Settings
from jdn_core.stages.bench import Bench
from jdn_core.training.randomness import Stream

_kept: dict[Settings, tuple[Bench, util.Finalize]] = {}  # one at the most


def bench(settings: Settings) -> Bench:
    """Returns the data and the device of a run; a job uses them and does not close them."""
    if settings not in _kept:
        close()
        opened = _open(settings)
        # Unlike atexit's functions it is called at the end of multiprocessing's children too; made here,
        # because a worker forgets those of the process that it was forked from.
        _kept[settings] = opened, util.Finalize(None, opened.close, exitpriority=0)
    return _kept[settings][0]


def close() -> None:
    """Closes the bench that is kept, if there is one."""
    while _kept:
        _, (_, finalize) = _kept.popitem()
        finalize()  # closes it, and is then not called at the end


def _open(settings: Settings) -> Bench:
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    data = settings.data
    train, val = (
        BatchLoader(images, workers=data.workers, cache_mb=data.cache_mb // 2)
        for images in datasets.check_data(settings)
    )
    return Bench(
        train=train,
        val=val,
        frames=data.frames,
        flip=data.flip,
        device=devices.choose(settings.device),
        stream=Stream((settings.seed,)),
    )
