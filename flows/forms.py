"""What a form of Prefect's dashboard starts: the flows of the command line, each inside one flow run.

A deployment's run has no terminal and a directory that is gone after it. So its folder lies in ``JDN_HOME``.
What a user can mend ends it Failed with the message of the command line; only what was not foreseen, such as
a killed process, ends it Crashed, which the automation that resumes searches waits for.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from flows.inputs.folders import DATA_ROOT, is_search
from flows.inputs.settings_file import Override, changed
from flows.launch import requests, resume_count, start
from flows.launch.find import begun_in, find, form_of, mlflow_run_of
from flows.launch.rebuild import rebuild
from flows.launch.trained import is_mlflow_run
from flows.search import search as search_flow
from flows.train_pool import train_pool as train_pool_flow
from flows.upgrade import upgrade as upgrade_flow
from jdn_core.errors import InputMissing, OwnedByAnother, UserError
from jdn_core.processes.fork_server import prepare
from jdn_core.processes.stopping import Stopped
from jdn_core.run import STEPS
from jdn_core.settings.values import Count
from jdn_core.settings.whole import Settings
from tasks.orchestration.flow_run import is_cancelled

_FLOWS = {"upgrade": upgrade_flow, "search": search_flow, "train_pool": train_pool_flow}
_OWNED = 90.0  # seconds that a dead owner's lease may outlive it (lease.SECONDS), and a little
_PAUSE = 5.0

Result = dict[str, Any] | State[Any]

logger = logging.getLogger(__name__)


@flow(name="upgrade")
def upgrade(settings: Settings, out: str | None = None) -> Result:
    """Make a better, cheaper detector of a dataset: base, pool of teachers, search and report, in one run.

    Args:
        settings: Of the whole run. Only data.root has no default.
        out: Folder of the results, on the worker's machine; without one JDN_HOME/NAME-ID, with the beginning
            of this run's id.
    """
    return _ending(lambda: _begun("upgrade", settings, out))


@flow(name="train-pool")
def train_pool(settings: Settings, out: str | None = None) -> Result:
    """Train a pool of teachers alone, which then serves many searches.

    Args:
        settings: Of the whole run. Only data.root has no default.
        out: Folder of the results, on the worker's machine; without one JDN_HOME/NAME-ID, with the beginning
            of this run's id.
    """
    return _ending(lambda: _begun("train_pool", settings, out))


@flow(name="search")
def search(settings: Settings, base: str, pool: str, out: str | None = None) -> Result:
    """Search student-teacher pairs with a trained base and a trained pool.

    Args:
        settings: Of the whole run. Only data.root has no default.
        base: A trained base: its folder, the flow run that trained it, or its run in MLflow.
        pool: A trained pool: its folder, the flow run that trained it, or its run in MLflow.
        out: Folder of the results, on the worker's machine; without one JDN_HOME/NAME-ID, with the beginning
            of this run's id.
    """
    return _ending(lambda: _begun("search", settings, out, stages={"base": base, "pool": pool}))


@flow(name="resume")
def resume(
    search: str,
    iterations: Count | None = None,
    workers: Count | None = None,
    data: str | None = None,
    from_mlflow: str | None = None,
) -> Result:
    """Go on where a search stopped, also on another machine that shares its MLflow server.

    Args:
        search: Its folder, or the id of the flow run that began or last resumed it.
        iterations: Pairs to evaluate after the base, more than before; without it as the search was begun.
        workers: Evaluations at a time; without it as the search was begun.
        data: The dataset's folder, where that is another one now.
        from_mlflow: Id of the search's run in MLflow, to fetch it from; search is then a new folder. A
            search that is not on this machine is found without it by its flow run.
    """
    sets = [] if iterations is None else [f"search.iterations={iterations}"]
    changes = requests.overrides(sets=sets, data=Path(data) if data else None, workers=workers)
    return _ending(lambda: _resumed(search, from_mlflow, changes))


def _begun(
    name: str,
    settings: Settings,
    out: str | None,
    *,
    stages: Mapping[str, str] | None = None,
    changes: Sequence[Override] = (),
) -> Result:
    """Runs a flow in its folder; one that Prefect starts again, under the same id, goes on there."""
    here = _flow_run()
    folder = begun_in(out, settings.name, str(here.id))
    settings = requests.suited(changed(_with_data(settings), changes), "settings", changes)
    again = (out is None or here.run_count > 1) and is_search(folder)
    taken = {} if again else {stage: _stage(named) for stage, named in (stages or {}).items()}
    return start.start(_inside(name), settings, folder, again=again, stages=taken)


def _with_data(settings: Settings) -> Settings:
    """Fills in the dataset that the worker knows of, where a form names none."""
    root = os.environ.get(DATA_ROOT)
    if settings.data.root is not None or not root:
        return settings
    data = settings.data.model_copy(update={"root": Path(root)})
    return settings.model_copy(update={"data": data})


def _resumed(search: str, from_mlflow: str | None, changes: Sequence[Override]) -> Result:
    found, automatic = find(search), _is_automatic()
    folder = found.folder
    if is_search(folder):
        settings = requests.of_folder(folder, changes)
    elif run := from_mlflow or mlflow_run_of(found):
        settings = rebuild(run, folder, changes)
    elif form := form_of(found):  # it was killed before it had a folder
        if automatic:
            resume_count.refuse_more(folder, barren=len(found.flow_runs) - 1)
        result = _begun(form.flow, form.settings, str(folder), stages=form.stages, changes=changes)
        return _named(form.flow, folder, result)
    else:
        raise InputMissing(
            f"{folder}: no search there, and none of its flow runs in MLflow; a search that is on another "
            "machine goes on there, or anywhere if both have the same MLFLOW_TRACKING_URI"
        )
    name = resume_count.flow_of(folder)
    resume_count.count(folder, automatic=automatic)
    result = _once_free(
        lambda: start.resume(_inside(name), settings, folder), patience=_OWNED if automatic else 0.0
    )
    return _named(name, folder, result)


def _named(name: str, folder: Path, result: Result) -> Result:
    """Names the end of a pool's training: what is Completed is published, which a pool must not be."""
    if name == "train_pool":
        return Completed(name="Trained", message=f"the pool is {folder / 'pool'}")
    return result


def _once_free(work: Callable[[], dict[str, Any]], *, patience: float) -> dict[str, Any]:
    """Does the work, tried again for so many seconds while a dead owner's lease outlives it."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return work()
        except OwnedByAnother as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("%s; trying again", error)
            time.sleep(_PAUSE)


def _inside(name: str) -> start.Flow:
    """Returns what is in the flow of that name, to be run inside the flow run at hand."""

    def body(settings: Settings, folder: Path) -> dict[str, Any]:
        prepare(STEPS)
        resume_count.begin(folder, name)
        inside: dict[str, Any] = _FLOWS[name].fn(settings, folder)
        return inside

    return body


def _stage(named: str) -> Path:
    return Path(named) if is_mlflow_run(named) else find(named).folder


def _flow_run() -> FlowRun:
    context = FlowRunContext.get()
    if context is None or not isinstance(context.flow_run, FlowRun):
        raise RuntimeError("a form's body runs inside a flow run")
    return context.flow_run


def _is_automatic() -> bool:
    """Checks whether an automation started this flow run, not a person."""
    by = _flow_run().created_by
    return by is not None and by.type == "AUTOMATION"


def _ending(work: Callable[[], Result]) -> Result:
    """Returns the result, or the state in which the flow run ends where a person has to do something."""
    try:
        return work()
    except UserError as error:
        logger.error("%s", error)
        return Failed(message=str(error))
    except Stopped:
        if is_cancelled():
            return Cancelled(message="stopped from the dashboard; `resume` goes on")
        raise
