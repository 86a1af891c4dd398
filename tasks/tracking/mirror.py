"""A search's folder beside its run in MLflow: what is in the one and not in the other."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jdn_core.errors import StorageError
from jdn_core.faults import Point, faultpoint
from jdn_core.reports.tables import row
from jdn_core.run.file_names import FINGERPRINT_FILE, HEAD_FILES, SEARCH_FILE
from jdn_core.run.folder import Run
from jdn_core.search.phases import mean_aps, read
from jdn_core.search.records import Records
from jdn_core.search.standing import Standing
from jdn_core.space.architecture import content_key
from jdn_core.storage import durable
from tasks.tracking import links
from tasks.tracking.entries import Entry, Number, flat_settings, of_pair, of_stage
from tasks.tracking.links import LINKS_FILE, PARENT, Links, pages, tracking_uri, ui_command
from tasks.tracking.server import STATUS, Server, is_whole
from tasks.tracking.views import NOTE, FlowRun, experiment_note, saved_view, search_note

if TYPE_CHECKING:
    from tasks.tracking.server import MlflowRun

BASE = "base"
_LISTED = 20  # searches in the note of an experiment, the newest
# What MLflow holds whole, as a tag of the search's run and, by name, in the folder: where both agree, neither
# of them has to be listed, and the resume of a search of 10,000 pairs asks one question.
MARK = "jdn.published"
PUBLISHED_FILE = Path("work", "published.json")


@dataclass(frozen=True)
class Mirror:
    """One search as its server and its folder show it.

    Attributes:
        run: the folder and its settings.
        records: of the folder, kept so that each is read once.
        server: where the search is told of.
        id: of the search's run there.
        mark: the tag ``MARK`` of that run when it was found.
    """

    run: Run
    records: Records
    server: Server
    id: str
    mark: str = ""

    @classmethod
    def open(cls, run: Run, *, flow_run: FlowRun | None = None) -> Mirror:
        """The search's run, found or made, and shown as running.

        Args:
            run: the folder and its settings.
            flow_run: what drives it in Prefect.
        """
        uri = tracking_uri(run)
        artifacts = None if ui_command(uri) is None else run.folder.resolve() / "mlartifacts"
        server = Server.connect(uri, name=run.settings.name, artifacts=artifacts)
        tags = _tags(run.folder)
        found = _known_run(server, run, tags) or server.the_one(tags)
        if found is None:
            more = {"jdn.search": run.settings.name, "jdn.settings": run.settings.digest, STATUS: "running"}
            found = server.client.create_run(
                server.experiment, tags={**tags, **more}, run_name=run.settings.name
            )
            faultpoint(Point.MLFLOW_SEARCH_CREATED)
        known = found.data.params
        server.params(
            found.info.run_id, {k: v for k, v in flat_settings(run.settings).items() if k not in known}
        )
        server.client.update_run(found.info.run_id, status="RUNNING")
        mirror = cls(run, run.records, server, found.info.run_id, found.data.tags.get(MARK, ""))
        if datasets := mirror.datasets():
            server.measured_on(mirror.id, datasets)
        place = Links(pages(uri), server.experiment, mirror.id)
        mirror._show(place, found, flow_run)
        remember(run.folder, place)
        return mirror

    @classmethod
    def find(cls, run: Run) -> Mirror | None:
        """The search's run as it is, without a change to anything; none where MLflow never heard of it."""
        server = Server.find(tracking_uri(run), name=run.settings.name)
        if server is None or not (run.folder / SEARCH_FILE).is_file():
            return None
        tags = _tags(run.folder)
        found = _known_run(server, run, tags) or next(iter(server.living(tags)), None)
        if found is None:
            return None
        return cls(run, run.records, server, found.info.run_id, found.data.tags.get(MARK, ""))

    def children(self, *, status: str | None = None) -> dict[tuple[str, str], list[MlflowRun]]:
        """Identity, a tag and its value -> the runs below the search's that have it, without aborted ones."""
        seen: dict[tuple[str, str], list[MlflowRun]] = {}
        for run in self.server.runs(status=status, **{PARENT: self.id}):
            tag = "jdn.pair_key" if "jdn.pair_key" in run.data.tags else "jdn.stage"
            if run.data.tags.get(STATUS) != "aborted" and tag in run.data.tags:
                seen.setdefault((tag, run.data.tags[tag]), []).append(run)
        return seen

    def child(self, tag: str, value: str) -> MlflowRun | None:
        """The whole run of this identity, if there is one."""
        found = self.server.living({tag: value, PARENT: self.id})
        return found[0] if found and is_whole(found[0]) else None

    def remembered(self) -> set[str] | None:
        """Identities that are whole in MLflow, if the folder remembers them as the search's run does.

        Those with a run that was not ended are left out, for they may have it twice.
        """
        try:
            known = set(durable.read_json(self.run.folder / PUBLISHED_FILE)["known"])
        except (FileNotFoundError, StorageError, KeyError, TypeError):
            return None
        if mark_of(known) != self.mark:
            return None
        return known - {value for _, value in self.children(status="RUNNING")}

    def known(self) -> set[str]:
        """Identities that are whole in MLflow, all of them listed; what is there twice is closed."""
        seen = self.children()
        for tag, value in (identity for identity, runs in seen.items() if len(runs) > 1):
            self.server.the_one({tag: value, PARENT: self.id})
        return {value for (_, value), runs in seen.items() if any(map(is_whole, runs))}

    def remember(self, known: Collection[str]) -> None:
        """Notes on both sides what MLflow holds."""
        self.server.client.set_tag(self.id, MARK, mark_of(known))
        faultpoint(Point.MLFLOW_MARKED)
        durable.write_json(self.run.folder / PUBLISHED_FILE, {"known": sorted(known)}, indent=None)

    def stages(self) -> Iterator[tuple[Literal["base", "pool"], str, Path]]:
        """(kind, name, folder) of every training before the search, in order, done or not."""
        yield "base", BASE, self.run.base
        for index, phase in enumerate(self.run.settings.pool.phases):
            yield "pool", phase.name, self.run.phase(index)

    def entries(self, known: Collection[str]) -> Iterator[Entry]:
        """What the folder holds and MLflow does not, in the order in which it came."""
        name = self.run.settings.name
        for kind, stage, folder in self.stages():
            if stage not in known and folder.is_dir():
                yield of_stage(kind, stage, folder, search=name)
        records = self.records.all()
        base = next((record.evaluation for record in records if record.pair.index == 0), None)
        fresh = [record for record in records if record.pair.key not in known]
        if base is None or not fresh:
            return
        standing = Standing(self.run.settings.score, records)
        for record in fresh:
            shown = row(standing.graded(record.pair.key), standing, self.run.folder)
            yield of_pair(record, shown, self.records.path(record.pair.key))

    def keys(self) -> set[str]:
        """Keys of the pairs that the folder has whole records of."""
        return {record.pair.key for record in self.records.all()}

    def send(self, entry: Entry) -> None:
        self.server.publish(entry, parent=self.id, dataset=self.datasets().get("validation"))

    def send_files(self, uploaded: dict[Path, int]) -> None:
        """Settings, identity, fingerprint, report and figures, each again when it has changed."""
        folder = self.run.folder
        for path in (*(folder / name for name in HEAD_FILES), *sorted((folder / "report").rglob("*"))):
            if path.is_file() and uploaded.get(path) != (changed := path.stat().st_mtime_ns):
                place = path.relative_to(folder).parent.as_posix()
                self.server.client.log_artifact(self.id, str(path), None if place == "." else place)
                uploaded[path] = changed

    def send_assessments(self, sent: dict[Path, int]) -> None:
        """AP of subnets after each phase, to the phase's run and as a curve over phases to the search's.

        They have the time at which the phase's run ended there, so sending them twice changes nothing.
        """
        for index, phase in enumerate(self.run.settings.pool.phases):
            file = self.run.assessment(index)
            if not file.is_file() or sent.get(file) == (changed := file.stat().st_mtime_ns):
                continue
            assessment, found = read(file), self.child("jdn.stage", phase.name)
            if assessment and found:
                numbers = [Number(name, ap, index) for name, ap in mean_aps(assessment).items()]
                for run_id in (found.info.run_id, self.id):
                    self.server.numbers(run_id, numbers, found.info.end_time)
                sent[file] = changed

    def end(self, state: str) -> None:
        """Ends the search's run, and all that lost replies left; a resumed search opens it again."""
        for ghost in list(self.server.runs(status="RUNNING", **{PARENT: self.id})):
            self.server.abort(ghost.info.run_id)
        self.server.the_one(_tags(self.run.folder), keep=self.id)
        self.server.client.set_tag(self.id, STATUS, state)
        faultpoint(Point.MLFLOW_SEARCH_DONE)
        self.server.client.set_terminated(self.id, "FINISHED" if state == "finished" else "KILLED")

    def _show(self, place: Links, found: MlflowRun, flow_run: FlowRun | None) -> None:
        """Sets what the pages say and show before anybody has clicked; what is there already is not sent."""
        tags = {NOTE: search_note(place, flow_run)}
        if flow_run is not None:
            tags["jdn.flow_run"] = flow_run.id
        elif "jdn.flow_run" in found.data.tags:  # that of a run by flow says more
            tags = {}
        for name, value in tags.items():
            if found.data.tags.get(name) != value:
                self.server.client.set_tag(self.id, name, value)
        searches = list(self.server.newest(_LISTED, **{"jdn.kind": "search"}))
        places = [
            (each.data.tags.get("jdn.search", ""), place._replace(search_run=each.info.run_id))
            for each in searches
        ]
        there = self.server.experiment_tags()
        shown_as = dict([saved_view(self.run.settings.name, place, when=found.info.start_time)])
        if note := experiment_note(there.get(NOTE, ""), places):
            shown_as[NOTE] = note
        for name, value in shown_as.items():
            if there.get(name) != value:
                self.server.client.set_experiment_tag(self.server.experiment, name, value)

    @property
    def search_id(self) -> str:
        """What tells the search from others of its name."""
        return _tags(self.run.folder)["jdn.search_id"]

    def datasets(self) -> dict[str, tuple[str, str]]:
        """Context -> (name, digest of 36 characters, which is MLflow's limit)."""
        file, root = self.run.folder / FINGERPRINT_FILE, self.run.settings.data.root
        if not file.is_file():
            return {}
        found = durable.read_json(file)
        name = root.name if root else "dataset"
        splits = {"training": "train", "validation": "val"}
        return {context: (f"{name}/{split}", found[split][:36]) for context, split in splits.items()}


def remember(folder: Path, place: Links) -> None:
    """Notes in a search's folder where it is seen in MLflow."""
    (folder / LINKS_FILE).parent.mkdir(exist_ok=True)
    durable.write_json(folder / LINKS_FILE, place._asdict())


def mark_of(known: Collection[str]) -> str:
    """A text that only this set of identities has; it begins with their number, for people."""
    return f"{len(known)} {content_key(sorted(known))}"


def _known_run(server: Server, run: Run, tags: Mapping[str, str]) -> MlflowRun | None:
    """The run that the folder's links name, if it is still this search's; asked by id, which is quick."""
    before = links.of(run)
    if before is None or before.experiment != server.experiment:
        return None
    return server.run(before.search_run, tags)


def _tags(folder: Path) -> dict[str, str]:
    """What finds a search's own run, and tells it from others of its name; it stays when the folder moves."""
    file = folder / SEARCH_FILE
    if not file.is_file():
        durable.write_json(file, {"id": str(uuid.uuid4())})
    return {"jdn.kind": "search", "jdn.search_id": str(durable.read_json(file)["id"])}
