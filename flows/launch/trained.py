"""A base or a pool that is trained already, taken over into the folder of a new run."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from jdn_core.errors import InputMissing, StorageError, UsageError

_MLFLOW_RUN = re.compile("[0-9a-f]{32}")


def is_mlflow_run(text: str) -> bool:
    """Checks whether a text has the form of the id of a run in MLflow."""
    return bool(_MLFLOW_RUN.fullmatch(text))


def take_stage(source: Path, stage: str, out: Path, *, uri: str | None = None) -> None:
    """Puts a trained base or pool, from its own folder, its run's folder or MLflow, into a new run's folder.

    Files are linked where the file system can, for a pool may be large and is never changed.

    Args:
        source: a folder, or the id of the stage's run in MLflow.
        stage: ``base`` or ``pool``.
        out: the new run's folder.
        uri: where MLflow listens; none: what ``MLFLOW_TRACKING_URI`` says.

    Raises:
        InputMissing: there is none.
        UsageError: the new run has this stage already.
        StorageError: a file cannot be read or written.
        CheckpointError, ServiceUnavailable: as ``tasks.tracking.fetch_stage`` does.
    """
    tracked = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if is_mlflow_run(str(source)) and not source.exists() and tracked:
        from tasks.tracking import fetch_stage

        refuse_second(stage, out)
        return fetch_stage(str(source), tracked, out / stage)
    folder = source / stage if (source / stage).is_dir() else source
    if not folder.is_dir():
        raise InputMissing(f"{source}: no such folder; `jdn train-{stage}` makes one")
    refuse_second(stage, out)
    try:
        shutil.copytree(folder, out / stage, copy_function=link_or_copy)
    except OSError as error:
        raise StorageError(f"{out / stage}: {error.strerror or error}") from error


def refuse_second(stage: str, out: Path) -> None:
    """Raises UsageError where the folder has this stage."""
    if (out / stage).exists():
        raise UsageError(f"{out} holds a {stage} already; choose another --out")


def link_or_copy(source: str, target: str) -> None:
    """Gives a file a second name; copies it where the two folders are on different file systems.

    Raises:
        StorageError: the file is not there.
    """
    try:
        os.link(source, target)
    except FileNotFoundError as error:
        raise StorageError(f"{source}: no such file") from error
    except OSError:
        shutil.copy2(source, target)
