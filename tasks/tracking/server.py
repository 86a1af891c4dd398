"""An experiment of a tracking server: runs found by their tags, written so that every call can be repeated.

MLflow's client repeats a request whose reply was lost (RELIABILITY, rule 5), so a run is looked for before it
is made, its tags come with it, files and numbers can be sent twice, ``jdn.status`` is set last, and what a
lost reply left is closed. mlflow is imported late, for that takes seconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from jdn_core.errors import InputMissing, ServiceUnavailable, UserError
from jdn_core.faults import Point, faultpoint
from tasks.tracking.entries import FILES_TAG, Entry, Number
from tasks.tracking.links import PARENT, complaint, database, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

    MlflowRun = Run  # the name under which the others know it

STATUS = "jdn.status"
# Without it MLflow's pages open as those of a chat application.
_TRAINING_VIEW = {"mlflow.experimentKind": "custom_model_development"}
_NO_SUCH_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_BATCH = 900  # MLflow takes 1000 metrics, and 100 params, at a time
# MLflow's own defaults would hold a call for four minutes where nobody answers.
_SHORT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def client_of(uri: str) -> MlflowClient:
    """A client that gives up soon and makes no noise; nothing is asked yet."""
    for variable, value in _SHORT.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient

    for noisy in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return MlflowClient(uri, uri)


@contextmanager
def asking(uri: str) -> Iterator[None]:
    """For commands that cannot do without MLflow: whatever it raises becomes a ServiceUnavailable."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of MLflow, its database or the network; there is no class for them all
        what = f"MLflow at {shown(uri)} does not answer: {complaint(error)}"
        raise ServiceUnavailable(what) from error


@dataclass(frozen=True)
class Server:
    """An experiment of a tracking server."""

    client: MlflowClient
    experiment: str

    @classmethod
    def connect(cls, uri: str, *, name: str, artifacts: Path | None = None) -> Server:
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
    def find(cls, uri: str, *, name: str) -> Server | None:
        """The experiment, if there is one; nothing is made, not even a database."""
        file = database(uri)
        if file is not None and not file.is_file():
            return None
        client = client_of(uri)
        found = client.get_experiment_by_name(name)
        return cls(client, found.experiment_id) if found else None

    @classmethod
    def holding(cls, run_id: str, uri: str) -> tuple[Server, MlflowRun]:
        """The experiment of a run, and the run.

        Raises:
            InputMissing: there is none of this id.
            ServiceUnavailable: nobody answers.
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
        """The run of this id, if it is there and has these tags."""
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
        self.client.get_experiment(self.experiment)

    def runs(self, *, status: str | None = None, **tags: str) -> Iterator[MlflowRun]:
        """All runs with these tags, and of MLflow's own status if one is given, oldest first."""
        wanted = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        wanted += [f"attributes.status = '{status}'"] if status else []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                " and ".join(wanted),
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def newest(self, count: int, **tags: str) -> list[MlflowRun]:
        """The last runs with these tags, newest first, without aborted ones."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        order = ["attributes.start_time DESC"]
        found = self.client.search_runs([self.experiment], wanted, max_results=count, order_by=order)
        return [run for run in found if run.data.tags.get(STATUS) != "aborted"]

    def experiment_tags(self) -> dict[str, str]:
        """Of the experiment, as they are now."""
        return dict(self.client.get_experiment(self.experiment).tags)

    def living(self, tags: Mapping[str, str], *, keep: str | None = None) -> list[MlflowRun]:
        """Runs with these tags that are not aborted; that of the id ``keep`` first, then finished ones."""
        found = [run for run in self.runs(**tags) if run.data.tags.get(STATUS) != "aborted"]
        return sorted(found, key=lambda run: (run.info.run_id != keep, not is_whole(run)))

    def the_one(self, tags: Mapping[str, str], *, keep: str | None = None) -> MlflowRun | None:
        """The first of ``living``; the others, which lost replies left, are closed as aborted."""
        found = self.living(tags, keep=keep)
        for ghost in found[1:]:
            self.abort(ghost.info.run_id)
        return found[0] if found else None

    def abort(self, run_id: str) -> None:
        """Closes a run that a lost reply left."""
        self.client.set_tag(run_id, STATUS, "aborted")
        self.client.set_terminated(run_id, "KILLED")

    def publish(self, entry: Entry, *, parent: str, dataset: tuple[str, str] | None = None) -> str:
        """Sends a run, whole, however often it was begun before; its id.

        Args:
            entry: the run to be.
            parent: id of the search's run.
            dataset: name and digest of what the numbers were measured on.

        Raises:
            InputMissing: one of its files is gone, and so is the run that had it.
        """
        tag, value = entry.identity
        found = self.the_one({tag: value, PARENT: parent})
        if found is not None and is_whole(found):
            return str(found.info.run_id)
        if gone := [name for name in entry.files if not (entry.folder / name).is_file()]:
            raise InputMissing(
                f"{entry.name}: {entry.folder} has no {', '.join(gone)}, and MLflow has no run"
            )
        started, finished = round(entry.started * 1000), round(entry.finished * 1000)
        if found is None:
            tags = {**entry.tags, PARENT: parent, STATUS: "running"}
            found = self.client.create_run(self.experiment, started, tags, entry.name)
            faultpoint(Point.MLFLOW_RUN_CREATED)
        run_id: str = found.info.run_id
        self.client.log_artifacts(run_id, str(entry.folder))
        faultpoint(Point.MLFLOW_UPLOADED)
        self.params(run_id, {k: v for k, v in entry.params.items() if k not in found.data.params})
        if dataset is not None and entry.is_candidate:
            self.measured_on(run_id, {"validation": dataset})
        model = self._model(entry, found) if entry.is_candidate else None
        faultpoint(Point.MLFLOW_MODEL)
        self._numbers(entry, run_id, finished, model=model, dataset=dataset)
        faultpoint(Point.MLFLOW_NUMBERS)
        self.client.set_tag(run_id, STATUS, entry.state)
        faultpoint(Point.MLFLOW_DONE)
        self.client.set_terminated(run_id, "FINISHED" if entry.state == "done" else "FAILED", finished)
        faultpoint(Point.MLFLOW_ENDED)
        return run_id

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
        """Writes params, which can be written once."""
        from mlflow.entities import Param

        rows = [Param(name, value) for name, value in params.items()]
        for start in range(0, len(rows), 100):
            self.client.log_batch(run_id, params=rows[start : start + 100])

    def numbers(self, run_id: str, numbers: Iterable[Number], when: int) -> None:
        """Adds metrics of one explicit time, in ms, to a run, ended or not; twice changes nothing."""
        from mlflow.entities import Metric

        self.client.log_batch(run_id, metrics=[Metric(n.name, n.value, when, n.step) for n in numbers])

    def files(self, run: MlflowRun, scratch: Path) -> Path:
        """A folder with all files of a run: where they lie, if that is here, else copies in ``scratch``."""
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

    def _numbers(
        self, entry: Entry, run_id: str, when: int, *, model: str | None, dataset: tuple[str, str] | None
    ) -> None:
        """All metrics with one explicit time, so that sending them twice changes nothing."""
        from mlflow.entities import Metric

        name, digest = dataset or (None, None)
        rows = [
            Metric(n.name, n.value, when, n.step, model, name, digest)
            if model and not n.step
            else Metric(n.name, n.value, when, n.step)
            for n in entry.numbers
        ]
        for start in range(0, len(rows), _BATCH):
            self.client.log_batch(run_id, metrics=rows[start : start + _BATCH])

    def _model(self, entry: Entry, run: MlflowRun) -> str:
        """The row in the table of models, which MLflow calls external: its files are the run's.

        It is looked for again once it is made, because a lost reply may have left a second one.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        run_id = run.info.run_id
        found = self._models(run_id)
        if not found:
            name = entry.name.partition(":")[0].replace(" ", "-")
            tags = {**entry.tags, "mlflow.model.isExternal": "true"}
            params = dict(entry.params)
            self.client.create_logged_model(self.experiment, name, run_id, tags, params, "detector")
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

    def model_of(self, run_id: str) -> LoggedModel | None:
        """A run's row in the table of models."""
        return next(iter(self._models(run_id)), None)

    def _models(self, run_id: str) -> list:
        return list(self.client.search_logged_models([self.experiment], f"source_run_id = '{run_id}'"))


def is_whole(run: MlflowRun) -> bool:
    """Whether a run has all that it shall have; its status alone is never the truth."""
    return run.data.tags.get(STATUS) in ("done", "failed") and run.info.status != "RUNNING"


def said_hash(run: MlflowRun) -> str | None:
    """What ``entries.digest`` said of a stage's folder when it was sent; none in runs older than the tag."""
    return run.data.tags.get(FILES_TAG)
