"""One pair on a worker that may be anywhere: fetched from MLflow, evaluated, and sent back there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from prefect import flow

from flows.inputs.folders import DATA_ROOT, home
from flows.inputs.settings_file import read_back
from flows.launch.opening import hired
from jdn_core.errors import InputMissing, OwnedByAnother
from jdn_core.processes.fork_server import prepare
from jdn_core.run import STEPS
from jdn_core.run.file_names import FINGERPRINT_FILE
from jdn_core.run.fingerprint import fingerprint, require_same
from jdn_core.run.folder import Run
from jdn_core.run.identity import search_id
from jdn_core.search.pairs import Pair
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tasks.pairs import fast_evaluate, mutate_pair, reset_bn
from tasks.transfers import fetch_head, fetch_inputs, send_record


@flow(name="evaluate-pair")
def evaluate_pair(search_run: str, pair: dict[str, Any], tracking_uri: str | None = None) -> str:
    """Evaluates one student-teacher pair of a search: what its record says afterwards, done or failed.

    Args:
        search_run: Id of the search's run in MLflow.
        pair: The proposal, as the search writes it.
        tracking_uri: Where MLflow listens; the worker's MLFLOW_TRACKING_URI wins.
    """
    prepare(STEPS)
    proposal = Pair.from_json(pair)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri
    if not uri:
        raise InputMissing("no MLflow: set MLFLOW_TRACKING_URI for this worker")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        head = fetch_head(search_run, uri, Path(folder))
        run = stack.enter_context(own_folder(head, uri, proposal))
        workers = stack.enter_context(hired(run.settings))
        fetch_inputs(run, search_run, proposal, head)
        student = mutate_pair(run, proposal, workers)
        teacher = reset_bn(run, proposal.teacher, workers)
        record = fast_evaluate(run, proposal, student, teacher, workers)
        send_record(run, search_run, proposal)
        forget_pairs(run)
    return record.state


@contextmanager
def own_folder(head: Path, uri: str, pair: Pair) -> Iterator[Run]:
    """Opens a folder for this evaluation alone; the one with the pair's checkpoint, if it is free.

    Folders stay for the search's next pairs, with its pool.

    Raises:
        InputMissing: the dataset is not here.
        FingerprintError: data or versions are not those of the search.
    """
    settings = settings_here(read_back(head), uri)
    require_same(head / FINGERPRINT_FILE, fingerprint(settings))
    root = home() / "evaluations" / str(search_id(head))
    with ExitStack() as stack:
        for folder in _folders(root, pair):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(durable.own(folder))
            except OwnedByAnother:
                continue
            break
        durable.clean_leftovers(folder)
        yield Run(settings, folder)


def forget_pairs(run: Run) -> None:
    """Leaves in a worker's folder what the next pair needs as well: the pool and the base's record."""
    run.forget_work()
    for record in run.records.all():
        if record.pair.index:
            shutil.rmtree(run.records.path(record.pair.key), ignore_errors=True)


def settings_here(settings: Settings, uri: str) -> Settings:
    """Returns a search's settings for one evaluation on this machine."""
    root = os.environ.get(DATA_ROOT) or settings.data.root
    if root is None or not Path(root).is_dir():
        raise InputMissing(f"{root}: no such dataset folder on this worker; {DATA_ROOT} says where it lies")
    return settings.model_copy(
        update={
            "data": settings.data.model_copy(update={"root": Path(root).resolve()}),
            "search": settings.search.model_copy(update={"workers": 1, "evaluator": "local"}),
            "tracking": settings.tracking.model_copy(update={"uri": uri}),
        }
    )


def _folders(root: Path, pair: Pair) -> Iterator[Path]:
    """Yields folders for evaluations of a search, to be tried in this order; there is always another one."""
    checkpoint = Path("work", "checkpoints", "pairs", pair.key)
    yield from (folder for folder in sorted(root.glob("*")) if (folder / checkpoint).is_dir())
    number = 0
    while True:
        yield root / str(number)
        number += 1
