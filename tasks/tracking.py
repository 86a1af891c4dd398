"""MLflow hears of a search beside it, from its files alone; the only module that speaks to it.

A search never waits for MLflow. ``Publisher`` is a thread that compares the search's folder with what the
server has and sends what is missing; so it catches up by itself after an outage, a crash, or a night.
Sending is idempotent (RELIABILITY, rule 5): a run is looked for before it is made, its tags come with it,
files and numbers can be sent twice, and ``jdn.status`` is set last. Runs that a lost reply left are closed.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from jdn_core import assemble, durable
from jdn_core.errors import InputMissing
from jdn_core.reports.tables import candidate
from jdn_core.run import Run
from jdn_core.search.records import Records
from jdn_core.search.score import Base, Scorer
from tasks import links
from tasks.entries import Entry, flat_settings, of_pair, of_stage
from tasks.links import LINKS_FILE, LOCAL_UI, PARENT, Links, shown, tracking_uri, ui_command

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

SEARCH_FILE = "search.json"
BASE = "base"
SETTINGS_FILE, FINGERPRINT_FILE = "settings.yaml", "fingerprint.json"
_STATUS = "jdn.status"
# Without it MLflow's pages open as those of a chat application.
_TRAINING_VIEW = {"mlflow.experimentKind": "custom_model_development"}
_BATCH = 900  # MLflow takes 1000 metrics, and 100 params, at a time
_PATIENCE = (1, 2, 4, 8, 10)
# MLflow's own defaults would hold a call for four minutes where nobody answers.
_SHORT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

logger = logging.getLogger(__name__)


class Publication(NamedTuple):
    """How far MLflow knows of a search: runs that are there, runs that are not, what stands in the way."""

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
            return cls(client, client.create_experiment(name, place, _TRAINING_VIEW))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return cls(client, found.experiment_id)

    def check(self) -> None:
        """Raises whatever MLflow raises where it does not answer."""
        self.client.get_experiment(self.experiment)

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

    def search_run(self, run: Run, tags: Mapping[str, str], *, keep: str | None) -> str:
        """The id of a search's own run, found by its tags or made; ``keep`` is what it was before."""
        found = self.the_one(tags, keep=keep)
        if found is None:
            more = {"jdn.search": run.settings.name, "jdn.settings": run.settings.digest, _STATUS: "running"}
            found = self.client.create_run(self.experiment, tags={**tags, **more}, run_name=run.settings.name)
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
        found = self.the_one({tag: value, PARENT: parent})
        if found is not None and _is_whole(found):
            return str(found.info.run_id)
        started, finished = round(entry.started * 1000), round(entry.finished * 1000)
        if found is None:
            tags = {**entry.tags, PARENT: parent, _STATUS: "running"}
            found = self.client.create_run(self.experiment, started, tags, entry.name)
        run_id: str = found.info.run_id
        self.client.log_artifacts(run_id, str(entry.folder))
        self._params(run_id, {k: v for k, v in entry.params.items() if k not in found.data.params})
        if dataset is not None and entry.is_candidate:
            self.measured_on(run_id, {"validation": dataset})
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
            dataset = MetaDataset(CodeDatasetSource(tags={}), name=name, digest=digest)  # type: ignore[abstract]
            entity = dataset._to_mlflow_entity()
            inputs.append(DatasetInput(entity, [InputTag("mlflow.data.context", context)]))
        self.client.log_inputs(run_id, inputs)

    def the_one(self, tags: Mapping[str, str], *, keep: str | None = None) -> MlflowRun | None:
        """The run with these tags: that of the id ``keep``, a finished one, or the oldest.

        The client repeats a request whose reply was lost, so there can be others; they are closed as aborted.
        """
        found = [run for run in self.runs(**tags) if run.data.tags.get(_STATUS) != "aborted"]
        found.sort(key=lambda run: (run.info.run_id != keep, not _is_whole(run)))
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
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        found = self.client.search_logged_models([self.experiment], f"source_run_id = '{run_id}'")
        if found:
            model = found[0]
        else:
            name = entry.name.partition(":")[0].replace(" ", "-")
            tags = {**entry.tags, "mlflow.model.isExternal": "true"}
            params = dict(entry.params)
            model = self.client.create_logged_model(self.experiment, name, run_id, tags, params, "detector")
        if model.status != LoggedModelStatus.READY:
            self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            self.client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)


def fetch(run_id: str, uri: str, folder: Path) -> None:
    """Downloads all files of a run, such as a base or a pool, into a folder that appears whole or not at all.

    Raises:
        InputMissing: the server has no such run.
    """
    for variable, value in _SHORT.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    staged = durable.stage_folder(folder)
    try:
        client = MlflowClient(uri, uri)
        client.get_run(run_id)
        client.download_artifacts(run_id, "", str(staged))
    except MlflowException as error:
        shutil.rmtree(staged)
        raise InputMissing(f"{run_id}: not to be had from MLflow at {shown(uri)}: {error.message}") from error
    durable.commit_folder(staged, folder)


class Publisher:
    """Keeps MLflow in step with a search's folder, in a thread; nothing that fails here reaches the search.

    Use it as a context manager, or call ``finish`` at the end.

    Args:
        run: the folder and its settings; only files are read, so the thread needs nothing from the search.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: set[str] = set()  # identities that MLflow holds whole
        self._uploaded: dict[Path, int] = {}  # file below the folder -> its time of change when it was sent
        self._missing = 0
        self._error = ""
        self._ending: str | None = None  # the state that the search's run shall end in
        self._news = threading.Event()
        self._news.set()
        self._thread = threading.Thread(target=self._work, name="jdn-mlflow", daemon=True)
        self._thread.start()

    def records(self) -> None:
        """Says that the folder holds something new; returns at once."""
        self._news.set()

    def finish(self, state: str = "finished", *, timeout: float = 60.0) -> Publication:
        """Sends the rest and ends the search's run in MLflow; waits ``timeout`` seconds at the most.

        Calling it again changes nothing. What could not be sent is on the disk; ``jdn sync`` sends it later.
        """
        if self._ending is None:
            self._ending = state
            self._news.set()
        self._thread.join(timeout)
        if self._thread.is_alive() or self._error:
            logger.warning(
                "MLflow at %s does not have everything (%s); `jdn sync %s` sends the rest",
                shown(tracking_uri(self._run)), self._error or "it is slow", self._run.folder,
            )  # fmt: skip
        return Publication(len(self._known), self._missing, self._error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish("finished" if kind is None else "interrupted", timeout=60.0 if kind is None else 10.0)

    def _work(self) -> None:
        """The thread: send what is new, wait for more; after a failure try again, ever more patiently."""
        failures = 0
        search: _Search | None = None
        while True:
            self._news.wait(None if not failures else _PATIENCE[min(failures, len(_PATIENCE)) - 1])
            self._news.clear()
            ending = self._ending
            try:
                search = search or _Search.open(self._run)
                self._send(search)
                if ending is not None:
                    search.end(ending)
                failures, self._error = 0, ""
            except Exception as error:  # whatever MLflow, its database or the network can raise
                failures += 1
                search = None
                self._complain(error)
            if ending is not None and (not failures or failures > 1):
                return

    def _send(self, search: _Search) -> None:
        if not self._known:
            self._known |= search.known()
        search.send_files(self._uploaded)
        waiting = list(search.entries(self._known))
        self._missing, refused = len(waiting), None
        for entry in waiting:
            try:
                search.send(entry)
            except Exception as error:  # one run that is refused must not keep the others back
                search.server.check()
                refused = error
                continue
            self._known.add(entry.identity[1])
            self._missing -= 1
        if refused:
            raise refused

    def _complain(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        if text != self._error:
            logger.warning("MLflow was not told: %s", text)
        self._error = text


@dataclass(frozen=True)
class _Search:
    """One search as its server and its folder show it."""

    run: Run
    records: Records
    server: Server
    id: str

    @classmethod
    def open(cls, run: Run) -> _Search:
        uri = tracking_uri(run)
        artifacts = None if ui_command(uri) is None else run.folder.resolve() / "mlartifacts"
        server, before = Server.connect(uri, name=run.settings.name, artifacts=artifacts), links.of(run)
        id_ = server.search_run(run, _tags(run.folder), keep=before.search_run if before else None)
        search = cls(run, run.records, server, id_)
        if datasets := search._datasets():
            server.measured_on(search.id, datasets)
        (run.folder / LINKS_FILE).parent.mkdir(exist_ok=True)
        place = Links(shown(uri) if artifacts is None else LOCAL_UI, server.experiment, search.id)
        durable.write_json(run.folder / LINKS_FILE, place._asdict())
        return search

    def known(self) -> set[str]:
        """Identities that are whole in MLflow; what is there twice is closed."""
        seen: dict[tuple[str, str], list[MlflowRun]] = {}
        for run in self.server.runs(**{PARENT: self.id}):
            tag = "jdn.pair_key" if "jdn.pair_key" in run.data.tags else "jdn.stage"
            if run.data.tags.get(_STATUS) != "aborted" and tag in run.data.tags:
                seen.setdefault((tag, run.data.tags[tag]), []).append(run)
        for tag, value in (identity for identity, runs in seen.items() if len(runs) > 1):
            self.server.the_one({tag: value, PARENT: self.id})
        return {value for (_, value), runs in seen.items() if any(map(_is_whole, runs))}

    def entries(self, known: Collection[str]) -> Iterator[Entry]:
        """What the folder holds and MLflow does not, in the order in which it came."""
        run, name = self.run, self.run.settings.name
        if BASE not in known and run.base.is_dir():
            yield of_stage("base", BASE, run.base, search=name)
        for index, phase in enumerate(run.settings.pool.phases):
            if phase.name not in known and run.phase(index).is_dir():
                yield of_stage("pool", phase.name, run.phase(index), search=name)
        records = self.records.all()
        base = next((record.evaluation for record in records if record.pair.index == 0), None)
        if base is None:
            return
        scorer = Scorer(assemble.score_rule(run.settings), Base.of(base))
        index_of = {record.pair.key: record.pair.index for record in records}
        for record in (record for record in records if record.pair.key not in known):
            row = candidate(record, scorer, index_of, folder=run.folder)
            yield of_pair(record, row, self.records.path(record.pair.key))

    def send(self, entry: Entry) -> None:
        self.server.publish(entry, parent=self.id, dataset=self._datasets().get("validation"))

    def send_files(self, uploaded: dict[Path, int]) -> None:
        """Settings, report and figures, each again when it has changed."""
        folder = self.run.folder
        for path in (folder / SETTINGS_FILE, *sorted((folder / "report").rglob("*"))):
            if path.is_file() and uploaded.get(path) != (changed := path.stat().st_mtime_ns):
                place = path.relative_to(folder).parent.as_posix()
                self.server.client.log_artifact(self.id, str(path), None if place == "." else place)
                uploaded[path] = changed

    def end(self, state: str) -> None:
        """Ends the search's run, and all that lost replies left; a resumed search opens it again."""
        self.known()
        self.server.the_one(_tags(self.run.folder), keep=self.id)
        self.server.client.set_tag(self.id, _STATUS, state)
        self.server.client.set_terminated(self.id, "FINISHED" if state == "finished" else "KILLED")

    def _datasets(self) -> dict[str, tuple[str, str]]:
        """Context -> (name, digest of 36 characters, which is MLflow's limit)."""
        file, root = self.run.folder / FINGERPRINT_FILE, self.run.settings.data.root
        if not file.is_file():
            return {}
        found = durable.read_json(file)
        name = root.name if root else "dataset"
        splits = {"training": "train", "validation": "val"}
        return {context: (f"{name}/{split}", found[split][:36]) for context, split in splits.items()}


def _tags(folder: Path) -> dict[str, str]:
    """What finds a search's own run, and tells it from others of its name; it stays when the folder moves."""
    file = folder / SEARCH_FILE
    if not file.is_file():
        durable.write_json(file, {"id": str(uuid.uuid4())})
    return {"jdn.kind": "search", "jdn.search_id": str(durable.read_json(file)["id"])}


def _is_whole(run: MlflowRun) -> bool:
    return run.data.tags.get(_STATUS) in ("done", "failed") and run.info.status != "RUNNING"
