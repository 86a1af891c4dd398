"""MLflow held against a search's folder, hash by hash; nothing is changed on either side."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jdn_core.errors import Problem, StorageError, UserError
from jdn_core.processes.progress import report
from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord
from jdn_core.storage import durable
from tasks.tracking.entries import digest
from tasks.tracking.links import tracking_uri
from tasks.tracking.mirror import Mirror
from tasks.tracking.restoring import PAIR_TAG, STAGE_TAG, record_at
from tasks.tracking.server import asking, is_whole

if TYPE_CHECKING:
    from tasks.tracking.server import MlflowRun

PLACE = "MLflow"


def mlflow_problems(run: Run, *, dropped: Collection[str]) -> list[Problem]:
    """Everything in which MLflow and the folder differ.

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
        mirror = Mirror.find(run)
        if mirror is None:
            return [Problem(PLACE, run.settings.name, "has no run of this search", remedy=_sync(run))]
        return list(_problems(mirror, dropped))


def _problems(mirror: Mirror, dropped: Collection[str]) -> Iterator[Problem]:
    children = mirror.children()
    for _, name, folder in mirror.stages():
        runs = children.pop((STAGE_TAG, name), [])
        if folder.is_dir():
            found = yield from _one(mirror, f"stage {name}", runs)
            if found is not None:
                yield from _stage_problems(mirror, name, folder, found)
    records = mirror.records.all()
    for number, record in enumerate(records, start=1):
        report("verify in MLflow", number, len(records), "")
        lost = "; its weights are nowhere" if record.pair.key in dropped else ""
        runs = children.pop((PAIR_TAG, record.pair.key), [])
        found = yield from _one(mirror, f"pair {record.pair.index}{lost}", runs)
        if found is not None:
            yield from _pair_problems(mirror, record, found)
    for (tag, value), _ in children.items():
        if tag == PAIR_TAG:
            remedy = f"`jdn resume {mirror.run.folder}` fetches it"
            yield Problem(PLACE, f"pair {value}", "the folder has no whole record of it", remedy=remedy)


def _one(mirror: Mirror, what: str, runs: list[MlflowRun]) -> Generator[Problem, None, MlflowRun | None]:
    """The one whole run among those of an identity; yields what there is instead."""
    whole = [run for run in runs if is_whole(run)]
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id for run in runs)
        yield Problem(PLACE, what, "must have one run", ids, _sync(mirror.run))
    elif not runs:
        yield Problem(PLACE, what, "has no run", remedy=_sync(mirror.run))
    elif not whole:
        yield Problem(PLACE, what, "its run is not whole", runs[0].info.run_id, _sync(mirror.run))
    return whole[0] if whole else None


def _stage_problems(mirror: Mirror, name: str, folder: Path, found: MlflowRun) -> Iterator[Problem]:
    with tempfile.TemporaryDirectory() as scratch:
        got, here = digest(mirror.server.files(found, Path(scratch))), digest(folder)
    if got != here:
        what = f"the files must have digest {here}, as in {folder.relative_to(mirror.run.folder)}"
        yield Problem(PLACE, f"stage {name}", what, got, _resend(mirror.run, found))


def _pair_problems(mirror: Mirror, record: PairRecord, found: MlflowRun) -> Iterator[Problem]:
    where, remedy = f"pair {record.pair.index}", _resend(mirror.run, found)
    with tempfile.TemporaryDirectory() as scratch:
        copy = mirror.server.files(found, Path(scratch))
        try:
            if record_at(copy) != record:
                yield Problem(PLACE, where, "the record differs from the folder's", remedy=remedy)
        except (FileNotFoundError, UserError) as error:
            yield Problem(PLACE, where, "the record is not whole", str(error), remedy)
        for name, sha256 in sorted(record.files.items()):
            try:
                got = durable.sha256_of(copy / name)
            except (FileNotFoundError, StorageError) as error:
                got = str(error)
            if got != sha256:
                yield Problem(PLACE, f"{where}, {name}", f"SHA-256 must be {sha256}", got, remedy)


def _sync(run: Run) -> str:
    return f"`jdn sync {run.folder}` sends it"


def _resend(run: Run, found: MlflowRun) -> str:
    return f"delete run {found.info.run_id} in MLflow, then `jdn sync {run.folder}` sends it again"
