"""What a worker elsewhere borrows of a search to evaluate one of its pairs, and how its record comes back.

Both ways lead through MLflow: the search sends its pool and its pairs as it always does, a worker takes what
one evaluation needs, and the pair's own run brings the record and the weights. Each file is held against its
hash on each side.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from jdn_core.errors import CheckpointError, InputMissing, StorageError
from jdn_core.run.file_names import HEAD_FILES
from jdn_core.run.folder import Run
from jdn_core.search.pairs import Pair
from jdn_core.storage import durable
from tasks.tracking.links import PARENT, Links, pages, tracking_uri
from tasks.tracking.mirror import Mirror, remember
from tasks.tracking.restoring import PAIR_TAG, STAGE_TAG, fetch_record, fetch_stage
from tasks.tracking.server import Server, asking, is_whole

logger = logging.getLogger(__name__)


def borrow(run: Run, search_run: str, pair: Pair, head: Path) -> None:
    """Fills a folder with what the evaluation of a pair needs: the pool, the base's record and the parent's.

    Args:
        run: the folder; what it holds already is not fetched again.
        search_run: id of the search's run in MLflow.
        pair: to be evaluated.
        head: the files that ``fetch_head`` downloaded.

    Raises:
        InputMissing: MLflow does not hold one of them.
        CheckpointError: what it holds is not what was sent.
        ServiceUnavailable: MLflow does not answer.
    """
    mirror = _mirror(run, search_run)
    with asking(tracking_uri(run)):
        for name in HEAD_FILES:
            durable.write_bytes(run.folder / name, (head / name).read_bytes())
        remember(run.folder, Links(pages(tracking_uri(run)), mirror.server.experiment, search_run))
        if not run.pool.is_dir():
            stage = mirror.child(STAGE_TAG, run.settings.pool.phases[-1].name)
            if stage is None:
                raise InputMissing(f"MLflow has no pool of search {run.settings.name}")
            fetch_stage(mirror.server, stage, run.pool)
        here = mirror.keys()
        for tag, value in {"jdn.pair_index": "0", PAIR_TAG: str(pair.parent)}.items():
            found = next(filter(is_whole, mirror.server.living({tag: value, PARENT: search_run})), None)
            if found is None:
                raise InputMissing(f"MLflow has no whole run of {tag} {value} of search {run.settings.name}")
            if (key := found.data.tags[PAIR_TAG]) not in here:
                fetch_record(mirror, key, found)


def give_back(run: Run, search_run: str, pair: Pair) -> None:
    """Sends the record of an evaluated pair, with its files, to where the search looks for it.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    mirror = _mirror(run, search_run)
    stages = {name for _, name, _ in mirror.stages()}
    with asking(tracking_uri(run)):
        for entry in mirror.entries(stages | mirror.keys() - {pair.key}):
            mirror.send(entry)


def collect(run: Run, pair: Pair) -> bool:
    """Takes the record of a pair that a worker has evaluated; whether MLflow has it whole, hash by hash.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(tracking_uri(run)):
        mirror = Mirror.find(run)
        found = mirror.child(PAIR_TAG, pair.key) if mirror else None
        if mirror is None or found is None:
            return False
        try:
            fetch_record(mirror, pair.key, found)
        except (CheckpointError, StorageError, FileNotFoundError) as error:
            logger.warning("pair %d came back damaged: %s", pair.index, error)
            mirror.server.abort(found.info.run_id)  # the next evaluation sends a run of its own
            return False
    return True


def tidy(run: Run) -> None:
    """Leaves in a worker's folder what the next pair needs as well: the pool and the base's record."""
    run.forget_work()
    for record in run.records.all():
        if record.pair.index:
            shutil.rmtree(run.records.path(record.pair.key), ignore_errors=True)


def _mirror(run: Run, search_run: str) -> Mirror:
    server, _ = Server.holding(search_run, tracking_uri(run))
    return Mirror(run, run.records, server, search_run)
