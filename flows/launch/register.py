"""From a search's folder to a version in the Model Registry: which pair, under which name."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flows.inputs import searches
from flows.inputs.settings_file import read_back
from jdn_core.errors import ServiceUnavailable
from jdn_core.run.folder import Run
from tasks import tracking
from tasks.tracking.fetching import has_run
from tasks.tracking.registry import Registered, called, check_names, identity_of, register_pair


def register(
    folder: Path, *, pair: int | None = None, alias: str = "champion", model: str | None = None
) -> Registered:
    """Registers a pair's detector, without an index the search's result; see ``tasks.tracking.registry``.

    A search that runs is not disturbed: it sends its pairs to MLflow by itself. For one that does not run,
    what MLflow lacks is sent first.

    Args:
        folder: of the search.
        pair: index of the pair.
        alias: of the version.
        model: name of the registered model; the search's without one.

    Raises:
        InputMissing: there is no such search or pair, or weights are nowhere.
        OwnedByAnother: the search runs and MLflow does not have the pair yet.
        ServiceUnavailable: MLflow does not answer, or refuses the pair.
        CheckpointError, UsageError: as ``register_pair`` does.
    """
    run = Run(read_back(folder), folder.resolve())
    name = model or run.settings.name
    check_names(name, alias)
    row, base = searches.row(folder, pair), searches.base(folder)
    if not has_run(run, *identity_of(run, row)):
        _send(run, called(row))
    return register_pair(run, row, base, model=name, alias=alias)


def register_from(
    run_id: str, uri: str, *, pair: int | None = None, alias: str = "champion", model: str | None = None
) -> Registered:
    """As ``register``, of a search whose folder is on another machine: MLflow has all that it takes.

    Args:
        run_id: of the search's run.
        uri: where MLflow listens.
        pair, alias, model: as ``register`` has them.
    """
    with tempfile.TemporaryDirectory() as scratch:
        head, folder = Path(scratch, "head"), Path(scratch, "search")
        head.mkdir()
        tracking.fetch_head(run_id, uri, head)
        settings = read_back(head)
        check_names(model or settings.name, alias)
        run = Run(settings, folder)
        if pair is None and tracking.has_controls(run, run_id, uri):
            tracking.rebuild(run, run_id, uri, head)  # the result follows from all records
        else:
            pair = tracking.fetch_pair(run, run_id, uri, head, index=pair)
        return register(folder, pair=pair, alias=alias, model=model)


def _send(run: Run, what: str) -> None:
    advice = f"MLflow has not heard of {what} yet, the search tells it by itself; try again soon"
    with searches.held(run.folder, advice=advice):
        finished = searches.status(run.folder)["stage"] == "report"
        sent = tracking.sync(run, state="finished" if finished else "interrupted")
    if sent.missing:
        raise ServiceUnavailable(f"MLflow does not take {sent.missing} runs of the search: {sent.error}")
