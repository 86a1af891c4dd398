"""What MLflow has and a folder has not: fetched, held against its hashes, and only then put in its place."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jdn_core.detector.folder import WEIGHTS_FILE
from jdn_core.errors import CheckpointError, InputMissing, StorageError, UserError
from jdn_core.run.file_names import HEAD_FILES, SEARCH_FILE, SETTINGS_FILE
from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import RECORD_FILE
from jdn_core.storage import durable
from tasks.tracking.entries import digest
from tasks.tracking.links import Links, pages, tracking_uri
from tasks.tracking.mirror import Mirror, remember
from tasks.tracking.server import Server, asking, is_whole, said_hash

if TYPE_CHECKING:
    from tasks.tracking.server import MlflowRun

PAIR_TAG, STAGE_TAG = "jdn.pair_key", "jdn.stage"

logger = logging.getLogger(__name__)


def fetch(run_id: str, uri: str, folder: Path) -> None:
    """Downloads all files of a run, such as a base or a pool, into a folder that appears whole or not at all.

    Raises:
        InputMissing: the server has no such run.
        CheckpointError: the files are not those that were sent.
        ServiceUnavailable: MLflow does not answer.
    """
    server, found = Server.holding(run_id, uri)
    with asking(uri):
        fetch_stage(server, found, folder)


def fetch_head(run_id: str, uri: str, folder: Path) -> None:
    """Downloads what says which search a run is: settings, identity and fingerprint, into an empty folder.

    Raises:
        InputMissing: the server has no such run, or it is not a search's.
        ServiceUnavailable: MLflow does not answer.
    """
    server, found = Server.holding(run_id, uri)
    kind = found.data.tags.get("jdn.kind")
    if kind != "search":
        what = f"the run of a {kind}" if kind else "no run of jdn"
        raise InputMissing(f"{run_id}: is {what}, not of a search; its parent run in MLflow is the search's")
    with asking(uri):
        there = {file.path for file in server.client.list_artifacts(run_id)}
        if missing := [name for name in HEAD_FILES if name not in there]:
            raise InputMissing(f"{run_id}: MLflow has no {', '.join(missing)} of this search")
        for name in HEAD_FILES:
            server.download(found, name, folder)
    said, sent = found.data.tags.get("jdn.search_id"), durable.read_json(folder / SEARCH_FILE)["id"]
    if said != sent:
        raise CheckpointError(f"{run_id}: {SEARCH_FILE} is of search {sent}, the run of search {said}")


def run_of_flow(uri: str, *, name: str, flow_run: str) -> str | None:
    """Id of the run of the search that a flow run of Prefect was the last to drive; none if there is none.

    Args:
        uri: where MLflow listens.
        name: of the search, and so of its experiment.
        flow_run: id of the flow run.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(uri):
        server = Server.find(uri, name=name)
        found = server.living({"jdn.kind": "search", "jdn.flow_run": flow_run}) if server else []
    return found[0].info.run_id if found else None


def rebuild(run: Run, run_id: str, uri: str, head: Path) -> int:
    """Fills an empty folder with a search that MLflow holds; the number of records.

    It may be cut off and called again. ``settings.yaml`` comes last, so a folder that has one is whole.

    Args:
        run: the folder to be, and the settings that ``head`` holds.
        run_id: of the search's run.
        uri: where MLflow listens.
        head: what ``fetch_head`` downloaded.

    Raises:
        CheckpointError: a base or a pool is not what was sent.
        ServiceUnavailable: MLflow does not answer.
    """
    server, _ = Server.holding(run_id, uri)
    mirror = Mirror(run, run.records, server, run_id)
    run.folder.mkdir(parents=True, exist_ok=True)
    with asking(uri):
        for _, name, folder in mirror.stages():
            stage = mirror.child(STAGE_TAG, name)
            if stage is not None and not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                fetch_stage(server, stage, folder)
        fetch_records(mirror)
    address = pages(uri)
    remember(run.folder, Links(address, server.experiment, run_id))
    for name in sorted(HEAD_FILES, key=SETTINGS_FILE.__eq__):
        durable.write_bytes(run.folder / name, (head / name).read_bytes())
    return len(run.records.all())


def fetch_records(mirror: Mirror) -> int:
    """Fetches every record that MLflow holds whole and the folder does not; how many were taken.

    Where both sides remember the same, one comparison is all. What is damaged there is not taken, and told in
    the log: its pair is evaluated again.
    """
    here = mirror.keys()
    remembered = mirror.remembered()
    if remembered is not None and remembered - {name for _, name, _ in mirror.stages()} <= here:
        return 0
    taken = 0
    for (tag, key), runs in mirror.children().items():
        whole = next(filter(is_whole, runs), None)
        if tag != PAIR_TAG or key in here or whole is None:
            continue
        try:
            taken += fetch_record(mirror, key, whole)
        except (UserError, FileNotFoundError) as error:
            logger.warning("pair %s was not taken from MLflow: %s", key, error)
    if taken:
        logger.info("%d records were fetched from MLflow", taken)
    return taken


def restore_files(run: Run, key: str) -> tuple[str, ...]:
    """Fetches the files of a pair that are damaged or gone, if MLflow's copies match the record; their names.

    Raises:
        InputMissing: there is no record of the pair, or MLflow has no run of it.
        CheckpointError: MLflow's copy is not what the record says either.
        ServiceUnavailable: MLflow does not answer.
    """
    record = run.records.get(key)
    if record is None:
        raise InputMissing(f"{run.records.path(key)}: no record there")
    wrong = sorted(name for name, sha256 in record.files.items() if not _is_there(run, key, name, sha256))
    if not wrong:
        return ()
    uri = tracking_uri(run)
    with asking(uri):
        mirror = Mirror.find(run)
        found = mirror.child(PAIR_TAG, key) if mirror else None
        if mirror is None or found is None:
            raise InputMissing(f"pair {record.pair.index}: {', '.join(wrong)} is not to be had from MLflow")
        for name in wrong:
            with _scratch(run) as scratch:
                copy = mirror.server.download(found, name, scratch)
                content = durable.read_verified(copy, record.files[name])
            durable.write_bytes(run.records.path(key) / name, content)
    logger.info("%s of pair %d: fetched from MLflow", ", ".join(wrong), record.pair.index)
    return tuple(wrong)


def holds_weights(mirror: Mirror, key: str) -> bool:
    """Whether MLflow's copy of a pair's weights is there, hash by hash."""
    record, found = mirror.records.get(key), mirror.child(PAIR_TAG, key)
    if record is None or found is None or WEIGHTS_FILE not in record.files:
        return False
    with _scratch(mirror.run) as scratch:
        copy = mirror.server.download(found, WEIGHTS_FILE, scratch)
        return durable.sha256_of(copy) == record.files[WEIGHTS_FILE]


def record_at(folder: Path) -> PairRecord:
    """The record in a pair's folder, wherever it lies.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it is damaged.
    """
    path = folder / RECORD_FILE
    try:
        return PairRecord.from_json(durable.read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not a record: {error!r}") from error


def fetch_record(mirror: Mirror, key: str, found: MlflowRun) -> bool:
    """Commits the record that a pair's whole run holds; whether it is the one that is kept.

    Raises:
        CheckpointError: one of its files is not what the record says.
        StorageError: the record is damaged, or of another pair.
    """
    with _scratch(mirror.run) as scratch, _staged(mirror.records.path(key)) as staged:
        copy = mirror.server.files(found, scratch)
        record = record_at(copy)
        if record.pair.key != key:
            raise StorageError(f"{copy}: the record of another pair, {record.pair.key}")
        for name, sha256 in record.files.items():
            durable.write_bytes(_inside(staged, name), durable.read_verified(copy / name, sha256))
        return mirror.records.commit(record, staged)


def fetch_stage(server: Server, found: MlflowRun, folder: Path) -> None:
    """Downloads all files of a stage's run into a folder that appears whole or not at all.

    Raises:
        CheckpointError: they are not those that were sent.
    """
    with _staged(folder) as staged:
        server.client.download_artifacts(found.info.run_id, "", str(staged))
        said, got = said_hash(found), digest(staged)
        if said not in (None, got):
            raise CheckpointError(f"{found.info.run_name}: MLflow's files have digest {got}, sent was {said}")
        durable.commit_folder(staged, folder)


@contextmanager
def _staged(final: Path) -> Iterator[Path]:
    """A folder to be filled and committed; what was not committed is dropped."""
    staged = durable.stage_folder(final)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _scratch(run: Run) -> AbstractContextManager[Path]:
    """A folder for downloads, on the search's disk; gone after use, at the latest with the next resume."""
    return _staged(run.folder / "work" / "fetched")


def _inside(folder: Path, name: str) -> Path:
    """Where a file of a record goes; a name that leads out of the folder is refused."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{name}: a record's files must lie in its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _is_there(run: Run, key: str, name: str, sha256: str) -> bool:
    try:
        return durable.sha256_of(run.records.path(key) / name) == sha256
    except (FileNotFoundError, StorageError):
        return False
