"""MLflow hears of a search beside it, from its files alone; the only module that speaks to it.

A search never waits for MLflow. ``Publisher`` is a thread that compares the search's folder with what the server has and
sends what is missing; so it catches up by itself after an outage, after a crash, and on another day (``jdn sync``).
Sending is idempotent (RELIABILITY, rule 5): a run is looked for before it is made, its tags come with it, files and
numbers can be sent twice, and ``jdn.status`` turns ``done`` last. Runs that a lost reply left behind are closed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from jdn_core import assemble, durable
from jdn_core.errors import UserError
from jdn_core.reports.tables import candidate
from jdn_core.search.score import Base, Scorer
from tasks.entries import Entry, flat_settings, of_pair, of_stage
from tasks.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

LOCAL_UI = "http://127.0.0.1:5000"
SEARCH_FILE = "search.json"
_STATUS, _PARENT, _SEARCH_ID = "jdn.status", "mlflow.parentRunId", "jdn.search_id"
_ENDED = ("done", "failed")
_BATCH = 900  # MLflow takes 1000 metrics, and 100 params, at a time
_PATIENCE = (1, 2, 4, 8, 10)
# MLflow's own defaults would hold a call for four minutes where nobody answers.
_SHORT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}

logger = logging.getLogger(__name__)


def tracking_uri(run: Run) -> str:
    """Where MLflow listens: the settings', else the environment's, else SQLite in the search's folder."""
    local = f"sqlite:///{run.folder.resolve() / 'mlflow.db'}"
    return run.settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or local


def ui_command(uri: str) -> str | None:
    """How to look at a local database in a browser, at ``LOCAL_UI``; None where a server answers already."""
    return None if urlsplit(uri).scheme in ("http", "https") else f"mlflow ui --backend-store-uri {uri}"


class Links(NamedTuple):
    """Addresses of a search in MLflow's pages."""

    address: str
    experiment: str
    search_run: str

    def run(self, run_id: str) -> str:
        """One run."""
        return f"{self.address}/#/experiments/{self.experiment}/runs/{run_id}"

    @property
    def search(self) -> str:
        """The search's own run, with its settings, figures and report."""
        return self.run(self.search_run)

    @property
    def pairs(self) -> str:
        """The pairs, best score first."""
        wanted = quote(f"tags.`jdn.kind` = 'pair' and tags.`{_PARENT}` = '{self.search_run}'", safe="")
        order = quote("metrics.`score`", safe="")
        return (
            f"{self.address}/#/experiments/{self.experiment}/runs"
            f"?searchFilter={wanted}&orderByKey={order}&orderByAsc=false"
        )

    @property
    def charts(self) -> str:
        """The same pairs as charts."""
        return f"{self.pairs}&compareRunsMode=CHART"


class Publication(NamedTuple):
    """How far MLflow knows of a search: runs sent or found there, runs still to send, what stands in the way."""

    sent: int
    missing: int
    error: str = ""


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
        for variable, value in _SHORT.items():
            os.environ.setdefault(variable, value)
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        client = MlflowClient(uri, uri)
        place = artifacts.as_uri() if artifacts else None
        found = client.get_experiment_by_name(name)
        if found is None:
            return cls(client, client.create_experiment(name, artifact_location=place))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return cls(client, found.experiment_id)

    def runs(self, **tags: str) -> Iterator[MlflowRun]:
        """All runs with these tags, oldest first, page by page."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], wanted, order_by=["attributes.start_time ASC"], page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def search_run(self, run: Run, identity: str) -> str:
        """The id of a search's own run, found or made."""
        tags = {"jdn.kind": "search", _SEARCH_ID: identity}
        found = self._the_one(tags)
        if found is None:
            more = {"jdn.search": run.settings.name, "jdn.settings": run.settings.digest, _STATUS: "running"}
            found = self.client.create_run(self.experiment, tags=tags | more, run_name=run.settings.name)
        run_id: str = found.info.run_id
        known = found.data.params
        self._params(run_id, {k: v for k, v in flat_settings(run.settings).items() if k not in known})
        self.client.update_run(run_id, status="RUNNING")
        return run_id

    def publish(self, entry: Entry, *, parent: str, dataset: tuple[str, str] | None = None) -> str:
        """Sends a run, whole, however often it was begun before; its id.

        Args:
            entry: the run to be.
            parent: id of the search's run.
            dataset: name and digest of what the numbers were measured on.
        """
        tag, value = entry.identity
        found = self._the_one({tag: value, _PARENT: parent})
        if found is not None and found.data.tags.get(_STATUS) in _ENDED:
            return str(found.info.run_id)
        started, finished = round(entry.started * 1000), round(entry.finished * 1000)
        if found is None:
            tags = {**entry.tags, _PARENT: parent, _STATUS: "running"}
            found = self.client.create_run(self.experiment, started, tags, entry.name)
        run_id: str = found.info.run_id
        self.client.log_artifacts(run_id, str(entry.folder))
        self._params(run_id, {k: v for k, v in entry.params.items() if k not in found.data.params})
        model = self._model(entry, run_id) if entry.is_candidate else None
        self._numbers(entry, run_id, finished, model=model, dataset=dataset)
        self.client.set_tag(run_id, _STATUS, entry.state)
        self.client.set_terminated(run_id, "FINISHED" if entry.state == "done" else "FAILED", finished)
        return run_id

    def measured_on(self, run_id: str, datasets: Mapping[str, tuple[str, str]]) -> None:
        """Notes datasets, context -> (name, digest), on a run; no data is stored."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        inputs = []
        for context, (name, digest) in datasets.items():
            dataset = MetaDataset(CodeDatasetSource(tags={}), name=name, digest=digest)
            entity = dataset._to_mlflow_entity()
            inputs.append(DatasetInput(entity, [InputTag("mlflow.data.context", context)]))
        self.client.log_inputs(run_id, inputs)

    def _the_one(self, tags: Mapping[str, str]) -> MlflowRun | None:
        """The run with these tags: a finished one if there is, else the oldest; the others are closed as aborted."""
        found = [run for run in self.runs(**tags) if run.data.tags.get(_STATUS) != "aborted"]
        found.sort(key=lambda run: run.data.tags.get(_STATUS) not in _ENDED)
        for ghost in found[1:]:
            self.client.set_tag(ghost.info.run_id, _STATUS, "aborted")
            self.client.set_terminated(ghost.info.run_id, "KILLED")
        return found[0] if found else None

    def _params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        rows = [Param(name, value) for name, value in params.items()]
        for start in range(0, len(rows), 100):
            self.client.log_batch(run_id, params=rows[start : start + 100])

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

    def _model(self, entry: Entry, run_id: str) -> str:
        """The row in the table of models, which MLflow calls external: its files are the run's."""
        found = self.client.search_logged_models([self.experiment], f"source_run_id = '{run_id}'")
        if found:
            return str(found[0].model_id)
        name = entry.name.partition(":")[0].replace(" ", "-")
        tags = {**entry.tags, "mlflow.model.isExternal": "true"}
        model = self.client.create_logged_model(
            self.experiment, name, run_id, tags, dict(entry.params), model_type="detector"
        )
        self.client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)
