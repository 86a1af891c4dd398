"""One experiment of an MLflow server: runs are found by their tags, and every call can be repeated.

MLflow's client repeats a POST whose reply was lost and so makes a second run (mlflow #8238, #3100;
RELIABILITY, rule 5). Therefore a run is looked for before it is made, its tags come with the create call,
files and numbers can be sent twice, ``jdn.status`` is set last, and what a lost reply left is closed as
aborted. mlflow is imported inside functions, for that takes three seconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from jdn_core.errors import InputMissing, ServiceUnavailable, UserError, hidden
from jdn_core.faults import Point, faultpoint
from tasks.tracking.entries import Entry, Number
from tasks.tracking.moving import follow_database
from tasks.tracking.pages import PARENT, database, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

    MlflowRun = Run  # our own Run is a folder

T = TypeVar("T")
STATUS = "jdn.status"
# Without it MLflow's pages open as those of a chat application.
_TRAINING_VIEW = {"mlflow.experimentKind": "custom_model_development"}
_NO_SUCH_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_METRICS, _PARAMS = 900, 100  # MLflow takes 1000 metrics, and 100 params, in one call
# With MLflow's own defaults a call to a server that is gone takes four minutes.
_SHORT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def client_of(uri: str) -> MlflowClient:
    """Returns a client that gives up soon and logs warnings alone; no server is asked yet."""
    for variable, value in _SHORT.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient

    follow_database(uri)
    for noisy in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return MlflowClient(uri, uri)


@contextmanager
def asking(uri: str) -> Iterator[None]:
    """Turns whatever MLflow raises into a ServiceUnavailable, for commands that cannot do without it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of MLflow, its database or the network; there is no class for them all
        what = f"MLflow at {shown(uri)} does not answer: {reason(error)}"
        raise ServiceUnavailable(what) from error


def reason(error: Exception) -> str:
    """Returns an error of MLflow, a database or the network as one line, without passwords of addresses."""
    return hidden(f"{type(error).__name__}: {error}".splitlines()[0])[:300]


@dataclass(frozen=True)
class Experiment:
    """An experiment of a tracking server, by its id."""

    client: MlflowClient
    id: str

    @classmethod
    def connect(cls, uri: str, *, name: str, artifacts: Path | None = None) -> Experiment:
        """Finds or makes the experiment; a fresh database gets its tables, under MLflow's own lock.

        Args:
            uri: of the server or database.
            name: of the experiment.
            artifacts: folder for files, where the URI is a database.
        """
        client = client_of(uri)
        place = artifacts.as_uri() if artifacts else None
        found = client.get_experiment_by_name(name)
        if found is None:
            return cls(client, client.create_experiment(name, place, _TRAINING_VIEW))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return cls(client, found.experiment_id)

    @classmethod
    def find(cls, uri: str, *, name: str) -> Experiment | None:
        """Finds the experiment, if there is one; nothing is made, not even a database."""
        file = database(uri)
        if file is not None and not file.is_file():
            return None
        client = client_of(uri)
        found = client.get_experiment_by_name(name)
        return cls(client, found.experiment_id) if found else None

    @classmethod
    def holding(cls, run_id: str, uri: str) -> tuple[Experiment, MlflowRun]:
        """Finds a run by its id, and its experiment.

        Raises:
            InputMissing: there is none of this id.
            ServiceUnavailable: the server does not answer.
        """
        with asking(uri):
            from mlflow.exceptions import MlflowException

            client = client_of(uri)
            try:
                found = client.get_run(run_id)
            except MlflowException as error:
                if error.error_code not in _NO_SUCH_RUN:
                    raise
                raise InputMissing(
                    f"{run_id}: not to be had from MLflow at {shown(uri)}: {error.message}"
                ) from error
            return cls(client, found.info.experiment_id), found

    def run(self, run_id: str, tags: Mapping[str, str]) -> MlflowRun | None:
        """Reads the run of this id, if it is there and has these tags."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in _NO_SUCH_RUN:
                raise
            return None
        there = found.info.lifecycle_stage == "active" and tags.items() <= found.data.tags.items()
        return found if there else None

    def check(self) -> None:
        """Raises whatever MLflow raises where it does not answer."""
        self.client.get_experiment(self.id)

    def tags(self) -> dict[str, str]:
        """Reads the experiment's tags."""
        return dict(self.client.get_experiment(self.id).tags)

    def runs(self, *, status: str | None = None, **tags: str) -> Iterator[MlflowRun]:
        """Lists all runs with these tags, and of MLflow's own status if one is given, oldest first."""
        wanted = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        wanted += [f"attributes.status = '{status}'"] if status else []
        order, token = ["attributes.start_time ASC"], None
        while True:
            page = self.client.search_runs([self.id], " and ".join(wanted), order_by=order, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def newest(self, count: int, **tags: str) -> list[MlflowRun]:
        """Lists the last runs with these tags, newest first, without aborted ones."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        order = ["attributes.start_time DESC"]
        found = self.client.search_runs([self.id], wanted, max_results=count, order_by=order)
        return [run for run in found if not is_aborted(run)]

    def living(self, tags: Mapping[str, str], *, keep: str | None = None) -> list[MlflowRun]:
        """Lists runs with these tags that are not aborted; that of the id ``keep`` first, then whole ones."""
        found = [run for run in self.runs(**tags) if not is_aborted(run)]
        return sorted(found, key=lambda run: (run.info.run_id != keep, not is_whole(run)))

    def the_one(self, tags: Mapping[str, str], *, keep: str | None = None) -> MlflowRun | None:
        """Returns the first of ``living``; the others, which lost replies left, are closed as aborted."""
        found = self.living(tags, keep=keep)
        for ghost in found[1:]:
            self.abort(ghost.info.run_id)
        return found[0] if found else None

    def abort(self, run_id: str) -> None:
        """Closes a run that a lost reply left."""
        self.client.set_tag(run_id, STATUS, "aborted")
        self.client.set_terminated(run_id, "KILLED")

    def publish(self, entry: Entry, *, parent: str, dataset: tuple[str, str] | None = None) -> None:
        """Sends a run, whole, however often it was begun before.

        Args:
            entry: the run.
            parent: id of the search's run.
            dataset: name and digest of what the numbers were measured on.

        Raises:
            InputMissing: one of its files is gone, and so is the run that had it.
        """
        tag, value = entry.identity
        found = self.the_one({tag: value, PARENT: parent})
        if found is not None and is_whole(found):
            return
        if gone := [name for name in entry.files if not (entry.folder / name).is_file()]:
            missing = ", ".join(gone)
            raise InputMissing(f"{entry.name}: {entry.folder} has no {missing}, and MLflow has no run")
        started, finished = round(entry.started * 1000), round(entry.finished * 1000)
        if found is None:
            tags = {**entry.tags, PARENT: parent, STATUS: "running"}
            found = self.client.create_run(self.id, started, tags, entry.name)
            faultpoint(Point.MLFLOW_RUN_CREATED)
        run_id = found.info.run_id
        self.client.log_artifacts(run_id, str(entry.folder))
        faultpoint(Point.MLFLOW_UPLOADED)
        self.params(run_id, {k: v for k, v in entry.params.items() if k not in found.data.params})
        if dataset is not None and entry.is_candidate:
            self.measured_on(run_id, {"validation": dataset})
        model = self._candidate(entry, found) if entry.is_candidate else None
        faultpoint(Point.MLFLOW_MODEL)
        self.numbers(run_id, entry.numbers, finished, model=model, dataset=dataset)
        faultpoint(Point.MLFLOW_NUMBERS)
        self.client.set_tag(run_id, STATUS, entry.state)
        faultpoint(Point.MLFLOW_DONE)
        self.client.set_terminated(run_id, "FINISHED" if entry.state == "done" else "FAILED", finished)
        faultpoint(Point.MLFLOW_ENDED)

    def measured_on(self, run_id: str, datasets: Mapping[str, tuple[str, str]]) -> None:
        """Notes datasets, context -> (name, digest), on a run; no data is stored."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        inputs = []
        for context, (name, digest) in datasets.items():
            dataset = MetaDataset(CodeDatasetSource(tags={}), name=name, digest=digest)  # type: ignore[abstract]
            entity = dataset._to_mlflow_entity()
            inputs.append(DatasetInput(entity, [InputTag("mlflow.data.context", context)]))
        self.client.log_inputs(run_id, inputs)

    def params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Writes params, each of which can be written once."""
        from mlflow.entities import Param

        for some in _parts(params.items(), _PARAMS):
            self.client.log_batch(run_id, params=[Param(name, value) for name, value in some])

    def numbers(
        self,
        run_id: str,
        numbers: Iterable[Number],
        when: int,
        *,
        model: str | None = None,
        dataset: tuple[str, str] | None = None,
    ) -> None:
        """Adds metrics to a run, ended or not, all with one explicit time: sent twice they change nothing.

        Args:
            run_id: of the run.
            numbers: its metrics.
            when: ms since the epoch.
            model: id of the run's row in the table of models, which gets all metrics but the losses.
            dataset: name and digest of what they were measured on.
        """
        from mlflow.entities import Metric

        on = (model, *(dataset or (None, None))) if model else ()
        for some in _parts(numbers, _METRICS):
            rows = [Metric(n.name, n.value, when, n.step, *(() if n.step else on)) for n in some]
            self.client.log_batch(run_id, metrics=rows)

    def files(self, run: MlflowRun, scratch: Path) -> Path:
        """Returns a folder with all files of a run: where they lie, if on this machine, else copies."""
        place = urlsplit(run.info.artifact_uri)
        if place.scheme in ("", "file"):
            return Path(unquote(place.path))
        return Path(self.client.download_artifacts(run.info.run_id, "", str(scratch)))

    def download(self, run: MlflowRun, name: str, folder: Path) -> Path:
        """Copies one file of a run into a folder.

        Raises:
            InputMissing: the run has no such file.
        """
        run_id, parent = run.info.run_id, name.rpartition("/")[0]
        if name not in {file.path for file in self.client.list_artifacts(run_id, parent or None)}:
            raise InputMissing(f"{run.info.run_name}: its run {run_id} in MLflow has no {name}")
        return Path(self.client.download_artifacts(run_id, name, str(folder)))

    def model_of(self, run_id: str) -> LoggedModel | None:
        """Finds a run's row in the table of models."""
        return next(iter(self._models(run_id)), None)

    def _candidate(self, entry: Entry, run: MlflowRun) -> str:
        """Makes the row in the table of models, which MLflow calls external: its files are the run's; its id.

        It is looked for again once it is made, because a lost reply may have left a second one.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        run_id = run.info.run_id
        found = self._models(run_id)
        if not found:
            name = entry.name.partition(":")[0].replace(" ", "-")
            tags = {**entry.tags, "mlflow.model.isExternal": "true"}
            self.client.create_logged_model(self.id, name, run_id, tags, dict(entry.params), "detector")
            found = self._models(run_id)
        linked = {output.model_id for output in (run.outputs.model_outputs if run.outputs else ())}
        found.sort(key=lambda model: model.model_id not in linked)
        model, *ghosts = found
        for ghost in ghosts:
            self.client.delete_logged_model(ghost.model_id)
        if model.model_id not in linked:  # MLflow refuses the same link a second time
            self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        if model.status != LoggedModelStatus.READY:
            self.client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def _models(self, run_id: str) -> list:
        return list(self.client.search_logged_models([self.id], f"source_run_id = '{run_id}'"))


def is_whole(run: MlflowRun) -> bool:
    """Returns whether a run was sent to its end; its status alone is never the truth."""
    return run.data.tags.get(STATUS) in ("done", "failed") and run.info.status != "RUNNING"


def is_aborted(run: MlflowRun) -> bool:
    """Returns whether a run was closed because a lost reply had left it."""
    return run.data.tags.get(STATUS) == "aborted"


def _parts(values: Iterable[T], size: int) -> Iterator[list[T]]:
    every = list(values)
    for start in range(0, len(every), size):
        yield every[start : start + size]
