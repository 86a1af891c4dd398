"""A base or a pool that is trained already, taken over into the folder of a new run."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from jdn_core.errors import InputMissing, StorageError, UsageError

RUN_ID = re.compile("[0-9a-f]{32}")  # of MLflow


def take_stage(source: Path, stage: str, out: Path, *, uri: str | None = None) -> None:
    """Puts a trained base or pool, from its own folder, its run's folder or MLflow, into a new run's folder.

    Files are linked where the file system can, for a pool may be large and is never changed.

    Args:
        source: a folder, or the id of the stage's run in MLflow.
        stage: ``base`` or ``pool``.
        out: the new run's folder.
        uri: where MLflow listens; none: what ``MLFLOW_TRACKING_URI`` says.
    """
    tracked = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if RUN_ID.fullmatch(str(source)) and not source.exists() and tracked:
        from tasks.tracking import fetch_stage

        refuse_second(stage, out)
        return fetch_stage(str(source), tracked, out / stage)
    folder = source / stage if (source / stage).is_dir() else source
    if not folder.is_dir():
        raise InputMissing(f"{source}: no such folder; `jdn train-{stage}` makes one")
    refuse_second(stage, out)
    try:
        shutil.copytree(folder, out / stage, copy_function=_link)
    except OSError as error:
        raise StorageError(f"{out / stage}: {error.strerror or error}") from error


def refuse_second(stage: str, out: Path) -> None:
    """Raises UsageError where the folder has this stage."""
    if (out / stage).exists():
        raise UsageError(f"{out} holds a {stage} already; choose another --out")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
