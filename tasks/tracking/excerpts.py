"""As much of a search as one pair's publication needs, fetched from MLflow where the rest is not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jdn_core.errors import InputMissing
from jdn_core.run.file_names import HEAD_FILES
from jdn_core.run.folder import Run
from jdn_core.storage import durable
from tasks.tracking.mirror import Mirror
from tasks.tracking.restoring import PAIR_TAG, fetch_record
from tasks.tracking.server import STATUS, Server, asking, is_whole

if TYPE_CHECKING:
    from tasks.tracking.server import MlflowRun


def fetch_excerpt(run: Run, run_id: str, uri: str, head: Path, *, pair: int | None) -> int:
    """Fills an empty folder with a search's head and three records: the base, a pair, its parent; its index.

    Every file is held against its hash.

    Args:
        run: the folder to be, and the settings that ``head`` holds.
        run_id: of the search's run.
        uri: where MLflow listens.
        head: what ``fetch_head`` downloaded.
        pair: index of the pair; the one of the highest score without it, the first of equals.

    Raises:
        InputMissing: MLflow has no such pair, or it failed.
        CheckpointError: a file is not what was sent.
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(uri):
        server, _ = Server.holding(run_id, uri)
        mirror = Mirror(run, run.records, server, run_id)
        found = _done(mirror)
        index = _best(found) if pair is None else pair
        if index not in found or 0 not in found:
            raise InputMissing(f"{run_id}: MLflow has no finished pair {index}; there are {sorted(found)}")
        parent = found[index].data.tags["jdn.parent_pair"]
        for each in {0, index, *([int(parent)] if parent else [])} & found.keys():
            fetch_record(mirror, found[each].data.tags[PAIR_TAG], found[each])
    for name in HEAD_FILES:
        durable.write_bytes(run.folder / name, (head / name).read_bytes())
    return index


def _done(mirror: Mirror) -> dict[int, MlflowRun]:
    """Index -> the run of a pair that has a detector."""
    runs = (
        next(filter(is_whole, runs), None) for (tag, _), runs in mirror.children().items() if tag == PAIR_TAG
    )
    return {
        int(each.data.tags["jdn.pair_index"]): each
        for each in runs
        if each and each.data.tags[STATUS] == "done"
    }


def _best(found: dict[int, MlflowRun]) -> int:
    """As ``reports.tables.best_row`` chooses; pairs outside the hard bounds have no score."""
    worst = float("-inf")
    return max(found, key=lambda index: (found[index].data.metrics.get("score", worst), -index), default=0)
