"""What a form of Prefect's dashboard starts: the flows of the command line, each inside one flow run.

A deployment's run has no terminal and a directory that is gone after it. So its folder lies in ``JDN_HOME``,
what a user can mend ends it Failed with the words that the command line has for it, and only what nobody
foresaw, such as a killed process, ends it Crashed, which the automation that resumes searches waits for.
"""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from flows.inputs import settings_file
from flows.inputs.folders import DATA_ROOT
from flows.inputs.settings_file import read_back
from flows.launch import resume_count
from flows.launch.find import Form, Whereabouts, begun_in, find, folder_of, form_of, run_in_mlflow
from flows.launch.start import choose, run_body, suited
from flows.launch.trained import RUN_ID
from jdn_core.errors import InputMissing, OwnedByAnother, UserError
from jdn_core.processes.fork_server import prepare
from jdn_core.processes.stopping import Stopped
from jdn_core.run import STEPS
from jdn_core.run.file_names import SETTINGS_FILE
from jdn_core.settings.sections import Count
from jdn_core.settings.whole import Settings

_OWNED = 90.0  # seconds that a dead owner's lease may outlive it, and a little
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
    place = Path(data) if data else None
    return _ending(
        lambda: _resumed(
            search, from_mlflow, lambda source: choose(source, sets=sets, data=place, workers=workers)
        )
    )


def _begun(
    flow: str, settings: Settings, out: str | None, *, stages: Mapping[str, str] | None = None
) -> Result:
    """A run in its folder; one that Prefect starts again, under the same id, goes on there."""
    here = _flow_run()
    folder = begun_in(out, settings.name, str(here.id))
    settings = suited(_with_data(settings), "settings")
    again = (out is None or here.run_count > 1) and (folder / SETTINGS_FILE).is_file()
    taken = {} if again else {stage: _stage(place) for stage, place in (stages or {}).items()}
    return run_body(_body(flow), settings, folder, again=again, stages=taken)


def _with_data(settings: Settings) -> Settings:
    """With the dataset that the worker knows of, where a form names none."""
    root = os.environ.get(DATA_ROOT)
    if settings.data.root is not None or not root:
        return settings
    data = settings.data.model_copy(update={"root": Path(root)})
    return settings.model_copy(update={"data": data})


def _resumed(search: str, from_mlflow: str | None, chosen: Callable[[str], Settings]) -> Result:
    known = find(search)
    folder = known.folder
    if not (folder / SETTINGS_FILE).is_file():
        run = from_mlflow or run_in_mlflow(known)
        if run is None and (form := form_of(known)) is not None:
            return _from_its_form(form, known, chosen)
        _fetch(run, folder, chosen)
    read_back(folder)
    automatic, flow = _is_automatic(), resume_count.flow_of(folder)
    resume_count.count(folder, automatic=automatic)
    settings = chosen(str(folder / SETTINGS_FILE))
    result = _once_free(
        lambda: run_body(_body(flow), settings, folder, again=True), patience=_OWNED if automatic else 0.0
    )
    return _told(flow, folder, result)


def _from_its_form(form: Form, known: Whereabouts, chosen: Callable[[str], Settings]) -> Result:
    """Begins what was killed before it had a folder."""
    if _is_automatic():
        resume_count.refuse_more(known.folder, barren=len(known.runs) - 1)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / SETTINGS_FILE
        file.write_text(settings_file.dump(_with_data(form.settings)))
        settings = chosen(str(file))
    result = _begun(form.flow, settings, str(known.folder), stages=form.stages)
    return _told(form.flow, known.folder, result)


def _told(flow: str, folder: Path, result: Result) -> Result:
    """A result as its flow run ends with it: what completes is published, which a pool alone must not be."""
    if flow == "train_pool":
        return Completed(name="Trained", message=f"the pool is {folder / 'pool'}")
    return result


def _once_free(work: Callable[[], dict[str, Any]], *, patience: float) -> dict[str, Any]:
    """What the work gives, tried again for so many seconds while a dead owner's lease outlives it."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return work()
        except OwnedByAnother as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("%s; trying again", error)
            time.sleep(_PAUSE)


def _body(name: str) -> Callable[[Settings, Path], dict[str, Any]]:
    """What is in the flow of that name, to be run inside the flow run at hand."""

    def body(settings: Settings, folder: Path) -> dict[str, Any]:
        prepare(STEPS)
        resume_count.begin(folder, name)
        inside: dict[str, Any] = getattr(importlib.import_module(f"flows.{name}"), name).fn(settings, folder)
        return inside

    return body


def _stage(place: str) -> Path:
    return Path(place) if RUN_ID.fullmatch(place) else folder_of(place)


def _fetch(run: str | None, folder: Path, chosen: Callable[[str], Settings]) -> None:
    from flows.launch.restore import rebuilt

    if run is None:
        raise InputMissing(
            f"{folder}: no search there, and none of its flow runs in MLflow; a search that is on another "
            "machine goes on there, or anywhere if both have the same MLFLOW_TRACKING_URI"
        )
    rebuilt(run, folder, choose=chosen)


def _flow_run() -> FlowRun:
    context = FlowRunContext.get()
    if context is None or not isinstance(context.flow_run, FlowRun):
        raise RuntimeError("a form's body runs inside a flow run")
    return context.flow_run


def _is_automatic() -> bool:
    """Whether an automation started this flow run, not a person."""
    by = _flow_run().created_by
    return by is not None and by.type == "AUTOMATION"


def _ending(work: Callable[[], Result]) -> Result:
    """The result, or the state in which the flow run ends where a person has to do something."""
    try:
        return work()
    except UserError as error:
        logger.error("%s", error)
        return Failed(message=str(error))
    except Stopped:
        from tasks.orchestration.flow_run import is_cancelled

        if is_cancelled():
            return Cancelled(message="stopped from the dashboard; `resume` goes on")
        raise
