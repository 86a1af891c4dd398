"""Compares a search's folder with MLflow, hash by hash; no result is changed on either side."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jdn_core.errors import Problem, StorageError, UserError
from jdn_core.processes.progress import report
from jdn_core.run import outcome
from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import read_record
from jdn_core.storage import durable
from tasks.tracking.entries import (
    PAIR_TAG,
    STAGE_TAG,
    Stage,
    control_stages,
    digest,
    finetuning_stages,
    stages,
)
from tasks.tracking.pages import tracking_uri
from tasks.tracking.search_run import SearchRun
from tasks.tracking.server import asking, is_whole

if TYPE_CHECKING:
    from tasks.tracking.server import MlflowRun

_PLACE = "MLflow"


def mlflow_problems(run: Run, *, dropped: Collection[str]) -> list[Problem]:
    """Lists everything in which MLflow and the folder differ.

    Every stage and every pair must have one run, that run must be whole, and its files must be those that the
    record or the stage's folder has. Files of a store on this machine are read where they lie, others are
    downloaded, pair by pair.

    Args:
        run: of the search.
        dropped: keys of the pairs whose weights MLflow alone has.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(tracking_uri(run)):
        search_run = SearchRun.find(run)
        if search_run is None:
            return [Problem(_PLACE, run.settings.name, "has no run of this search", remedy=_sync(run))]
        return list(_problems(search_run, dropped))


def _problems(search_run: SearchRun, dropped: Collection[str]) -> Iterator[Problem]:
    run, children = search_run.run, search_run.children()
    controls = control_stages(outcome.of(run)) if run.held_out.parent.is_dir() else ()
    for stage in (*stages(run), *controls, *finetuning_stages(run)):
        found = children.pop((STAGE_TAG, stage.name), [])
        if stage.folder.is_dir():
            one = yield from _one(run, f"stage {stage.name}", found)
            if one is not None:
                yield from _stage_problems(search_run, stage, one)
    records = run.records.all()
    for number, record in enumerate(records, start=1):
        report("verify in MLflow", number, len(records), "")
        lost = "; its weights are nowhere" if record.pair.key in dropped else ""
        found = children.pop((PAIR_TAG, record.pair.key), [])
        one = yield from _one(run, f"pair {record.pair.index}{lost}", found)
        if one is not None:
            yield from _pair_problems(search_run, record, one)
    for tag, value in children:
        if tag == PAIR_TAG:
            remedy = f"`jdn resume {run.folder}` fetches it"
            yield Problem(_PLACE, f"pair {value}", "the folder has no whole record of it", remedy=remedy)


def _one(run: Run, what: str, found: list[MlflowRun]) -> Generator[Problem, None, MlflowRun | None]:
    """Returns the one whole run among those of an identity; yields what there is instead."""
    whole = [each for each in found if is_whole(each)]
    if len(found) > 1:
        ids = ", ".join(each.info.run_id for each in found)
        yield Problem(_PLACE, what, "must have one run", ids, _sync(run))
    elif not found:
        yield Problem(_PLACE, what, "has no run", remedy=_sync(run))
    elif not whole:
        yield Problem(_PLACE, what, "its run is not whole", found[0].info.run_id, _sync(run))
    return whole[0] if whole else None


def _stage_problems(search_run: SearchRun, stage: Stage, found: MlflowRun) -> Iterator[Problem]:
    run, folder = search_run.run, stage.folder
    with tempfile.TemporaryDirectory() as scratch:
        got, here = digest(search_run.experiment.files(found, Path(scratch))), digest(folder)
    if got != here:
        what = f"the files must have digest {here}, as in {folder.relative_to(run.folder)}"
        yield Problem(_PLACE, f"stage {stage.name}", what, got, _resend(run, found))


def _pair_problems(search_run: SearchRun, record: PairRecord, found: MlflowRun) -> Iterator[Problem]:
    where, remedy = f"pair {record.pair.index}", _resend(search_run.run, found)
    with tempfile.TemporaryDirectory() as scratch:
        copy = search_run.experiment.files(found, Path(scratch))
        try:
            if read_record(copy) != record:
                yield Problem(_PLACE, where, "the record differs from the folder's", remedy=remedy)
        except (FileNotFoundError, UserError) as error:
            yield Problem(_PLACE, where, "the record is not whole", str(error), remedy)
        for name, sha256 in sorted(record.files.items()):
            try:
                got = durable.sha256_of(copy / name)
            except (FileNotFoundError, StorageError) as error:
                got = str(error)
            if got != sha256:
                yield Problem(_PLACE, f"{where}, {name}", f"SHA-256 must be {sha256}", got, remedy)


def _sync(run: Run) -> str:
    return f"`jdn sync {run.folder}` sends it"


def _resend(run: Run, found: MlflowRun) -> str:
    return f"delete run {found.info.run_id} in MLflow, then `jdn sync {run.folder}` sends it again"
