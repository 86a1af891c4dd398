"""A run's splits and held-out photos: read and checked once per process, and held against its settings."""

from __future__ import annotations

from functools import lru_cache

import torch

from jdn_core.data.coco.dataset import CocoDataset, load, require_same_categories
from jdn_core.data.holdout import Divided, divided
from jdn_core.data.layouts import DRAWN, SPLITS, Place, Split, find_split, images_of
from jdn_core.data.twins import shared_note
from jdn_core.errors import DataError, InputMissing, Problem, SettingsError
from jdn_core.processes import devices
from jdn_core.settings.data import DataSettings
from jdn_core.settings.whole import Settings


def dataset(data: DataSettings, split: Split) -> CocoDataset:
    """Returns one split as the search sees it: validation without the photos that are held out.

    Raises:
        InputMissing: no dataset was named, or it is not there.
        DataError: the dataset breaks rules, or a share of it leaves nothing on one side.
    """
    if split == "val" and data.holdout not in (0, "test"):
        return _divided(data).seen
    return _read(data, split)


def held_out(data: DataSettings) -> CocoDataset | None:
    """Returns the photos that the search never sees; none where none are asked for; raises as ``dataset``."""
    if data.holdout == "test":
        return _read(data, "test")
    return _divided(data).held_out if data.holdout else None


@lru_cache(maxsize=2)  # so that it is the same object whenever it is asked for
def _divided(data: DataSettings) -> Divided:
    return divided(_read(data, "val"), float(data.holdout))


@lru_cache(maxsize=6)  # a start asks three times: before it, for its fingerprint, as a task
def _read(data: DataSettings, split: Split) -> CocoDataset:
    most = {"train": data.max_train_images, "val": data.max_val_images, "test": None}[split]
    return load(*_place(data, split), drop_bad_boxes=data.drop_bad_boxes, max_images=most)


def _place(data: DataSettings, split: Split) -> Place:
    """Returns where a split is: as the settings say, else as the dataset's folder does."""
    file, images = {
        "train": (data.train_json, data.train_images),
        "val": (data.val_json, data.val_images),
        "test": (None, None),
    }[split]
    if file is not None:
        alone = split == "train" and data.val_json is None and data.root is None
        return Place(file, images or images_of(file), "train" if alone else None)
    if data.root is not None:
        return find_split(data.root, split, images=images)
    if split == "val" and data.train_json is not None:
        return _place(data, "train")._replace(part="val")
    raise InputMissing(
        "no dataset: name its folder with --data DIR or data.root, or its files with data.train_json"
    )


def described(data: DataSettings) -> list[str]:
    """Says in a line each where the data was found, how val came about, and which pictures occur twice."""
    places = [_place(data, split) for split in SPLITS]
    files = dict.fromkeys(str(place.annotations) for place in places)
    lines = [f"data: {', '.join(files)}"] + ([f"data: {DRAWN}"] if places[1].part is not None else [])
    train, val = (dataset(data, split) for split in SPLITS)
    doubts = dict.fromkeys(doubt for each in (train, val) for doubt in each.doubts)
    paths = ([image.path for image in each.images] for each in (train, val))
    return [*lines, *doubts, *shared_note(*paths)]


def check_data(settings: Settings) -> tuple[CocoDataset, CocoDataset]:
    """Returns the train and the val split, after a check that the run's settings suit them.

    Raises:
        InputMissing, DataError: see ``checked``.
        SettingsError: a batch is larger than the training split.
    """
    train, val = checked(settings.data)
    _check_batches(settings, len(train.images))
    return train, val


def checked(data: DataSettings) -> tuple[CocoDataset, CocoDataset]:
    """Returns the train and the val split, of the same classes.

    Raises:
        InputMissing: a split is not there.
        DataError: problems of all splits at once.
    """
    problems: list[Problem] = []
    splits: tuple[Split, ...] = ("train", "val", "test") if data.holdout == "test" else SPLITS
    for split in splits:
        try:
            dataset(data, split)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError.of(problems)
    train, val = dataset(data, "train"), dataset(data, "val")
    require_same_categories(train, val)
    if held := held_out(data):
        require_same_categories(train, held)
    return train, val


def has(data: DataSettings, split: Split) -> bool:
    """Returns whether a split is there."""
    try:
        return _place(data, split).images.is_dir()
    except InputMissing:
        return False


def _check_batches(settings: Settings, images: int) -> None:
    batches = {"base": settings.base.batch, "evaluation": settings.evaluation.batch}
    batches |= {f"pool.phases.{i}": phase.batch for i, phase in enumerate(settings.pool.phases)}
    problems = [
        Problem(
            "settings", f"{place}.batch", f"must be <= the number of training images ({images})", str(batch)
        )
        for place, batch in batches.items()
        if batch > images
    ]
    problems += _sharing_problems(settings)
    if problems:
        raise SettingsError.of(problems)


def pool_processes(settings: Settings) -> int:
    """Returns how many processes train the pool together: one per GPU where the settings leave it open."""
    return settings.pool.processes or max(1, _gpus(settings))


def _gpus(settings: Settings) -> int:
    return len(devices.gpus()) if settings.device != "cpu" and torch.cuda.is_available() else 0


def _sharing_problems(settings: Settings) -> list[Problem]:
    """Says what keeps the pool's processes from having a GPU and an equal share of every batch each."""
    count, gpus = pool_processes(settings), _gpus(settings)
    problems = [
        Problem(
            "settings", f"pool.phases.{i}.batch", f"must be a multiple of pool.processes ({count})", str(n)
        )
        for i, n in enumerate(phase.batch for phase in settings.pool.phases)
        if n % count
    ]
    if 0 < gpus < count:
        what = f"must be <= the number of GPUs ({gpus})"
        problems.append(Problem("settings", "pool.processes", what, str(count)))
    return problems
