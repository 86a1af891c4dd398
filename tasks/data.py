"""The dataset, checked before anything is trained on it."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.run import datasets
from jdn_core.run.folder import Run


@task(name="check data", cache_policy=NO_CACHE)
def check_data(run: Run) -> dict[str, int]:
    """Counts images and classes of both splits; raises DataError with all problems of both."""
    train, val = datasets.check_data(run.settings)
    return {
        "train_images": len(train.images),
        "val_images": len(val.images),
        "classes": len(train.categories),
    }
