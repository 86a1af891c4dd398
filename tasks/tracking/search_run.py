"""A search's run in MLflow, and the runs below it: one for each pair, base and phase of the pool."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from jdn_core.errors import StorageError
from jdn_core.faults import Point, faultpoint
from jdn_core.run.file_names import SEARCH_FILE
from jdn_core.run.fingerprint import noted
from jdn_core.run.folder import Run
from jdn_core.run.identity import search_id, write_search_id
from jdn_core.storage import durable
from tasks.tracking.entries import PAIR_TAG, STAGE_TAG, flat_settings
from tasks.tracking.moving import ARTIFACTS, follow_folder
from tasks.tracking.pages import (
    NOTE,
    PARENT,
    FlowRun,
    Links,
    address_of,
    experiment_note,
    keep_links,
    links_of,
    saved_view,
    search_note,
    tracking_uri,
    ui_command,
)
from tasks.tracking.server import STATUS, Experiment, is_aborted, is_whole

if TYPE_CHECKING:
    from tasks.tracking.server import MlflowRun

_LISTED = 20  # searches in the note of an experiment, the newest
# Which runs are whole in MLflow stands twice: by name in the folder, and as one hash in a tag of the search's
# run. Where both agree, neither side is listed: MLflow's part in the resume of 10,000 pairs takes 0.14 s.
MARK = "jdn.published"
PUBLISHED_FILE = Path("work", "published.txt")


class Published:
    """Identities of the runs that MLflow holds whole: names of stages and keys of pairs.

    Their hash is a sum, so that one more costs the same after 10,000 as after ten; and they are kept a line
    each, so that one more is appended.
    """

    def __init__(self, identities: Iterable[str] = ()) -> None:
        self._all: set[str] = set()
        self._sum = 0
        for identity in identities:
            self.add(identity)

    def __contains__(self, identity: object) -> bool:
        return identity in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def issuperset(self, identities: Iterable[str]) -> bool:
        return self._all.issuperset(identities)

    def add(self, identity: str) -> None:
        if identity not in self._all:
            self._all.add(identity)
            self._sum += int.from_bytes(hashlib.sha256(identity.encode()).digest())
            self._sum %= 1 << 256

    def without(self, identities: Collection[str]) -> Published:
        return Published(self._all.difference(identities))

    @property
    def mark(self) -> str:
        """Returns a text that only this set has; it begins with the number of its members, for people."""
        return f"{len(self)} {self._sum:064x}"

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Reads what a folder keeps; None where it keeps nothing. Damage shows in the mark."""
        try:
            return cls(durable.read_bytes(folder / PUBLISHED_FILE).decode(errors="replace").splitlines())
        except (FileNotFoundError, StorageError):
            return None


@dataclass(frozen=True)
class SearchRun:
    """The run of one search.

    Attributes:
        run: the search's folder and its settings.
        experiment: that holds the run.
        id: of the run.
        mark: the tag ``MARK`` of the run when it was found.
    """

    run: Run
    experiment: Experiment
    id: str
    mark: str = ""

    @classmethod
    def open(cls, run: Run, *, flow_run: FlowRun | None = None) -> Self:
        """Finds or makes the search's run, and shows it as running.

        Args:
            run: the folder and its settings.
            flow_run: in Prefect, that runs the search.
        """
        follow_folder(run)
        uri = tracking_uri(run)
        artifacts = None if ui_command(uri) is None else run.folder.resolve() / ARTIFACTS
        experiment = Experiment.connect(uri, name=run.settings.name, artifacts=artifacts)
        tags = _tags(run.folder)
        found = _linked(experiment, run, tags) or experiment.the_one(tags)
        if found is None:
            more = {"jdn.search": run.settings.name, "jdn.settings": run.settings.digest, STATUS: "running"}
            found = experiment.client.create_run(experiment.id, tags=tags | more, run_name=run.settings.name)
            faultpoint(Point.MLFLOW_SEARCH_CREATED)
        opened = cls(run, experiment, found.info.run_id, found.data.tags.get(MARK, ""))
        params = flat_settings(run.settings)
        experiment.params(opened.id, {k: v for k, v in params.items() if k not in found.data.params})
        experiment.client.update_run(opened.id, status="RUNNING")
        if datasets := opened.datasets():
            experiment.measured_on(opened.id, datasets)
        links = Links(address_of(uri), experiment.id, opened.id)
        opened._show(links, found, flow_run)
        keep_links(run.folder, links)
        return opened

    @classmethod
    def find(cls, run: Run) -> Self | None:
        """Finds the search's run; None where MLflow has none. Nothing but the place of its files changes."""
        follow_folder(run)
        experiment = Experiment.find(tracking_uri(run), name=run.settings.name)
        if experiment is None or not (run.folder / SEARCH_FILE).is_file():
            return None
        tags = _tags(run.folder)
        found = _linked(experiment, run, tags) or next(iter(experiment.living(tags)), None)
        return cls(run, experiment, found.info.run_id, found.data.tags.get(MARK, "")) if found else None

    @classmethod
    def of_id(cls, run: Run, run_id: str, uri: str) -> Self:
        """Finds the run by its id.

        Raises:
            InputMissing: there is none of this id.
            ServiceUnavailable: MLflow does not answer.
        """
        experiment, _ = Experiment.holding(run_id, uri)
        return cls(run, experiment, run_id)

    @property
    def search_id(self) -> str:
        """Returns the id that no other search of its name has."""
        return _tags(self.run.folder)["jdn.search_id"]

    def child(self, tag: str, value: str) -> MlflowRun | None:
        """Finds the whole run of this identity, if there is one."""
        found = self.experiment.living({tag: value, PARENT: self.id})
        return found[0] if found and is_whole(found[0]) else None

    def children(self, *, status: str | None = None) -> dict[tuple[str, str], list[MlflowRun]]:
        """Lists the runs below by identity, a tag and its value, without aborted ones."""
        seen: dict[tuple[str, str], list[MlflowRun]] = {}
        for run in self.experiment.runs(status=status, **{PARENT: self.id}):
            tag = PAIR_TAG if PAIR_TAG in run.data.tags else STAGE_TAG
            if not is_aborted(run) and tag in run.data.tags:
                seen.setdefault((tag, run.data.tags[tag]), []).append(run)
        return seen

    def whole_pairs(self) -> list[MlflowRun]:
        """Lists the runs of pairs that were sent to their end, one for each pair."""
        found = (
            next(filter(is_whole, runs), None)
            for (tag, _), runs in self.children().items()
            if tag == PAIR_TAG
        )
        return [run for run in found if run]

    def remembered(self) -> Published | None:
        """Returns what the folder says is whole in MLflow; None unless the search's run says the same.

        A run that was not ended is left out, for a lost reply may have made a second one of it.
        """
        known = Published.read(self.run.folder)
        if known is None or known.mark != self.mark:
            return None
        running = {value for _, value in self.children(status="RUNNING")}
        return known.without(running) if running else known

    def listed(self) -> Published:
        """Lists what is whole in MLflow; of runs that are there twice one is closed."""
        seen = self.children()
        for tag, value in (identity for identity, runs in seen.items() if len(runs) > 1):
            self.experiment.the_one({tag: value, PARENT: self.id})
        return Published(value for (_, value), runs in seen.items() if any(map(is_whole, runs)))

    def note(self, known: Published, fresh: Collection[str] | None = None) -> None:
        """Notes on both sides what MLflow holds; ``fresh``, if known, is what is new of it."""
        self.experiment.client.set_tag(self.id, MARK, known.mark)
        faultpoint(Point.MLFLOW_MARKED)
        file = self.run.folder / PUBLISHED_FILE
        lines = "".join(f"{identity}\n" for identity in (sorted(known) if fresh is None else fresh))
        if fresh is None:
            file.parent.mkdir(exist_ok=True)
            durable.write_text(file, lines)
        else:
            durable.append_text(file, lines)

    def datasets(self) -> dict[str, tuple[str, str]]:
        """Returns context -> (name, digest of 36 characters, which is MLflow's limit)."""
        found, root = noted(self.run.folder), self.run.settings.data.root
        if not found:
            return {}
        name = root.name if root else "dataset"
        splits = {"training": "train", "validation": "val"}
        return {context: (f"{name}/{split}", found[split][:36]) for context, split in splits.items()}

    def end(self, state: str) -> None:
        """Ends the search's run, and all that lost replies left; a resumed search opens it again."""
        for ghost in list(self.experiment.runs(status="RUNNING", **{PARENT: self.id})):
            self.experiment.abort(ghost.info.run_id)
        self.experiment.the_one(_tags(self.run.folder), keep=self.id)
        self.experiment.client.set_tag(self.id, STATUS, state)
        faultpoint(Point.MLFLOW_SEARCH_DONE)
        self.experiment.client.set_terminated(self.id, "FINISHED" if state == "finished" else "KILLED")

    def _show(self, links: Links, found: MlflowRun, flow_run: FlowRun | None) -> None:
        """Sets the notes and the saved view of the pages; what is there already is not sent."""
        tags = {NOTE: search_note(links, flow_run)}
        if flow_run is not None:
            tags["jdn.flow_run"] = flow_run.id
        elif "jdn.flow_run" in found.data.tags:  # the note about a flow run says more
            tags = {}
        for name, value in tags.items():
            if found.data.tags.get(name) != value:
                self.experiment.client.set_tag(self.id, name, value)
        searches = [
            (each.data.tags.get("jdn.search", ""), links._replace(search_run=each.info.run_id))
            for each in self.experiment.newest(_LISTED, **{"jdn.kind": "search"})
        ]
        there = self.experiment.tags()
        wanted = dict([saved_view(self.run.settings.name, links, when=found.info.start_time)])
        if note := experiment_note(there.get(NOTE, ""), searches):
            wanted[NOTE] = note
        for name, value in wanted.items():
            if there.get(name) != value:
                self.experiment.client.set_experiment_tag(self.experiment.id, name, value)


def _linked(experiment: Experiment, run: Run, tags: Mapping[str, str]) -> MlflowRun | None:
    """Reads the run that the folder's links name, if it is still this search's: by id, which is quick."""
    links = links_of(run)
    if links is None or links.experiment != experiment.id:
        return None
    return experiment.run(links.search_run, tags)


def _tags(folder: Path) -> dict[str, str]:
    """Returns the tags that find a search's own run; its id stays when the folder moves."""
    return {"jdn.kind": "search", "jdn.search_id": search_id(folder) or write_search_id(folder)}
