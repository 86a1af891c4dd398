"""Settings of the smallest trainings that run: whether a study works, not what it finds (ours)."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from jdn_core.settings.whole import Settings

M = TypeVar("M", bound=BaseModel)
IMAGES, PAIRS = 32, 2
_ONE_EPOCH = {"epochs": 1}


def quick(settings: Settings) -> Settings:
    """Returns the settings with one epoch for each training, two pairs for a search, and few photos."""
    data, pool = settings.data, settings.pool
    phases = tuple(phase.model_copy(update=_ONE_EPOCH) for phase in pool.phases)
    most = max(IMAGES, settings.base.batch, settings.evaluation.batch, *(phase.batch for phase in phases))
    return _changed(
        settings,
        data=_changed(data, max_train_images=_least(most, data.max_train_images)),
        base=_changed(settings.base, epochs=min(1, settings.base.epochs)),
        pool=_changed(pool, phases=phases),
        evaluation=_changed(settings.evaluation, **_ONE_EPOCH, latency_warmup=0, latency_repeats=1),
        search=_changed(settings.search, iterations=min(PAIRS, settings.search.iterations)),
    )


def _least(most: int, given: int | None) -> int:
    return most if given is None else min(most, given)


def _changed(model: M, **changes: Any) -> M:
    return model.model_copy(update=changes)
