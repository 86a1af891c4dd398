"""What can be refused before anything is trained: data, a checkpoint, a base and a pool from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jdn_core.detector.folder import SPEC_FILE, load_detector, load_spec
from jdn_core.errors import DataError, Problem, SearchFailed, SettingsError, shown
from jdn_core.pool.folder import POOL_FILE, PoolSpec, load_pool, load_pool_spec, require_like
from jdn_core.run import assemble, datasets
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import Settings

Classes = Sequence[tuple[int, str]]


def check_inputs(settings: Settings, folder: Path) -> None:
    """Reads all that a run begins with, as the run will.

    Args:
        settings: of the run.
        folder: the run's; holds ``base`` and ``pool`` where they are taken from elsewhere.

    Raises:
        InputMissing: a file is not there.
        DataError: the dataset breaks rules, or base or pool have other classes.
        CheckpointError: weights are damaged, or belong to another architecture.
        SettingsError: a batch is larger than the training split, or the pool has other subnets, or does not
        suit the base.
    """
    train, _ = datasets.check_data(settings)
    classes = assemble.classes(train)
    if (base := folder / "base").is_dir():
        require_classes("base", load_detector(base).spec.classes, classes)
    elif settings.detector.pretrained is not None:
        assemble.base_detector(assemble.base_spec(settings), settings)
    if (pool := folder / "pool").is_dir():
        require_pool(spec := load_pool_spec(pool), settings, classes)
        if base.is_dir():
            require_like(spec, load_spec(base))
        load_pool(pool)


def require_classes(stage: str, found: Classes, wanted: Classes) -> None:
    """Raises DataError where a base or a pool has other classes than the dataset."""
    if tuple(found) != tuple(wanted):
        differing = sorted({*found} ^ {*wanted})[:4]
        what = f"must be the dataset's {len(wanted)} classes"
        value = f"{len(found)}, differing {shown(differing)}" if differing else "them in another order"
        file = f"{stage}/{SPEC_FILE if stage == 'base' else POOL_FILE}"
        raise DataError.of([Problem(file, "classes", what, value, f"take a {stage} trained on this dataset")])


def require_pool(pool: PoolSpec, settings: Settings, classes: Classes) -> None:
    """Raises where a pool from elsewhere is not the one that the settings and the data ask for.

    Raises:
        DataError: it has other classes.
        SettingsError: it has other subnets.
    """
    require_classes("pool", pool.template.classes, classes)
    space = settings.subnet_space
    if pool.space != space:
        remedy = "copy pool.space from the settings that the pool was trained under"
        raise SettingsError.of(
            [Problem("settings", "pool.space", f"the pool has {pool.space}", str(space), remedy)]
        )


def refuse_failures(standing: Standing, most: int) -> None:
    """Raises SearchFailed where the ``most`` newest pairs failed, too many in a row to go on."""
    newest = standing.newest(most)
    if len(newest) == most and all(record.state == "failed" for record in newest):
        reasons = "\n".join(f"pair {record.pair.index}: {record.reason}" for record in newest)
        raise SearchFailed(f"the last {most} pairs failed:\n{reasons}")
