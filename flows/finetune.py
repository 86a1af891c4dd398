"""A search's result, or any pair, trained on for so many epochs, as people and Prefect start it."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.inputs.settings_file import read_back
from flows.launch.endings import following
from flows.launch.find import find
from flows.launch.opening import hired, opened
from flows.launch.telling import tell
from jdn_core.errors import InputMissing
from jdn_core.processes.fork_server import prepare
from jdn_core.run import STEPS, finetuning
from jdn_core.run.folder import Run
from jdn_core.search.finetunings import FineTuned
from jdn_core.settings.values import Count
from tasks.data import check_data
from tasks.finetuning import fine_tune
from tasks.tracking.pages import where


@flow(name="finetune")
def finetune(
    search: str, epochs: Count, pair: Annotated[int, Field(ge=0)] | None = None, alone: bool = False
) -> dict[str, Any]:
    """Trains a detector of a search on, under its teacher or alone; called again, it goes on.

    Args:
        search: Folder of a search, or the id of the flow run that began or last resumed it.
        epochs: Passes over the training images.
        pair: Index of the pair; the search's result if not given.
        alone: Without a teacher.
    """
    folder = find(search).folder.resolve()
    settings = read_back(folder)
    prepare(STEPS)
    with following(folder), opened(settings, folder) as run, hired(settings) as workers:
        if not run.records.all():
            raise InputMissing(f"{folder}: the search has no pairs yet")
        check_data(run)
        tuning = finetuning.wanted(run, index=pair, epochs=epochs, alone=alone)
        found = fine_tune(run, tuning, workers)
        error = tell(run)
    return summary(run, found) | {"mlflow": where(run) | {"error": error}}


def summary(run: Run, found: FineTuned) -> dict[str, Any]:
    """Returns before against after, as ``finetune --json`` prints it."""
    tuning, held_out = found.tuning, found.held_out
    return {
        "search": tuning.search,
        "start": tuning.start,
        "epochs": tuning.epochs,
        "teacher": None if tuning.teacher is None else str(tuning.teacher),
        "resolution": str(tuning.resolution),
        "val": {"before": found.before.ap, "after": found.after.ap},
        "holdout": None if held_out is None else held_out.to_json(),
        "macs": found.after.macs,
        "params": found.evaluation.params,
        "train_seconds": found.evaluation.timing.train_seconds,
        "detector": str(run.finetuning(tuning.name)),
        "sha256": found.evaluation.weights,
    }
