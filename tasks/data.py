"""The dataset, checked before anything is trained on it."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.run import datasets
from jdn_core.run.folder import Run


@task(name="check data", cache_policy=NO_CACHE)
def check_data(run: Run) -> dict[str, int]:
    """Counts images and classes of the splits; raises DataError with all problems of all."""
    train, val = datasets.check_data(run.settings)
    held = datasets.held_out(run.settings.data)
    return {
        "train_images": len(train.images),
        "val_images": len(val.images),
        "held_out_images": len(held.images) if held else 0,
        "classes": len(train.categories),
    }
