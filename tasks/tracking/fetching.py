"""Fetches from MLflow what a folder lacks; each file is held against its hash before it is put in its place.

A search goes on elsewhere, a worker evaluates one pair, one pair is registered: each of them needs a part of
a search in a folder that looks like the search's own.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jdn_core.detector.folder import WEIGHTS_FILE
from jdn_core.detector.trunk import TENSOR_FILES
from jdn_core.errors import CheckpointError, InputMissing, StorageError, UserError
from jdn_core.run import assemble
from jdn_core.run.file_names import HEAD_FILES, SEARCH_FILE, SETTINGS_FILE
from jdn_core.run.folder import Run
from jdn_core.run.identity import search_id
from jdn_core.search import latencies
from jdn_core.search.pairs import Pair
from jdn_core.search.records import read_record
from jdn_core.search.standing import Standing
from jdn_core.storage import durable
from tasks.tracking.entries import CONTROL, FILES_TAG, PAIR_TAG, STAGE_TAG, control_name, digest, stages
from tasks.tracking.pages import Links, address_of, keep_links, tracking_uri
from tasks.tracking.search_run import SearchRun
from tasks.tracking.server import STATUS, Experiment, asking

if TYPE_CHECKING:
    from tasks.tracking.server import MlflowRun

_INDEX_TAG = "jdn.pair_index"

logger = logging.getLogger(__name__)


def fetch_stage(run_id: str, uri: str, folder: Path) -> None:
    """Downloads a base or a pool by its run into a folder that appears whole or not at all.

    Raises:
        InputMissing: the server has no such run.
        CheckpointError: the files are not those that were sent.
        ServiceUnavailable: MLflow does not answer.
    """
    experiment, found = Experiment.holding(run_id, uri)
    with asking(uri):
        _take_stage(experiment, found, folder)


def fetch_head(run_id: str, uri: str, folder: Path) -> None:
    """Downloads settings, identity and fingerprint of a search into an empty folder.

    Raises:
        InputMissing: the server has no such run, or it is not a search's.
        ServiceUnavailable: MLflow does not answer.
    """
    experiment, found = Experiment.holding(run_id, uri)
    kind = found.data.tags.get("jdn.kind")
    if kind != "search":
        what = f"the run of a {kind}" if kind else "no run of jdn"
        raise InputMissing(f"{run_id}: is {what}, not of a search; its parent run in MLflow is the search's")
    with asking(uri):
        there = {file.path for file in experiment.client.list_artifacts(run_id)}
        if missing := [name for name in HEAD_FILES if name not in there]:
            raise InputMissing(f"{run_id}: MLflow has no {', '.join(missing)} of this search")
        for name in HEAD_FILES:
            experiment.download(found, name, folder)
    tag, sent = found.data.tags.get("jdn.search_id"), search_id(folder)
    if tag != sent:
        raise CheckpointError(f"{run_id}: {SEARCH_FILE} is of search {sent}, the run of search {tag}")


def run_of_flow(uri: str, *, name: str, flow_run: str) -> str | None:
    """Finds the search that a flow run of Prefect was the last to run; the id of its run in MLflow, if any.

    Args:
        uri: where MLflow listens.
        name: of the search, and so of its experiment.
        flow_run: id of the flow run.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(uri):
        experiment = Experiment.find(uri, name=name)
        found = experiment.living({"jdn.kind": "search", "jdn.flow_run": flow_run}) if experiment else []
    return found[0].info.run_id if found else None


def has_run(run: Run, tag: str, value: str) -> bool:
    """Returns whether MLflow has the whole run of this identity.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(tracking_uri(run)):
        search_run = SearchRun.find(run)
        return search_run is not None and search_run.child(tag, value) is not None


def has_controls(run: Run, run_id: str, uri: str) -> bool:
    """Returns whether anything was trained beside a search's pairs, so that its result may be no pair.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    search_run = SearchRun.of_id(run, run_id, uri)
    with asking(uri):
        return any(tag == STAGE_TAG and value.startswith(CONTROL) for tag, value in search_run.children())


def rebuild(run: Run, run_id: str, uri: str, head: Path) -> int:
    """Fetches a whole search into an empty folder; the number of records.

    It may be cut off and called again. A damaged record is left out: its pair is evaluated again.

    Args:
        run: the folder, and the settings that ``head`` holds.
        run_id: of the search's run.
        uri: where MLflow listens.
        head: what ``fetch_head`` downloaded.

    Raises:
        CheckpointError: a base or a pool is not what was sent.
        ServiceUnavailable: MLflow does not answer.
    """
    search_run = SearchRun.of_id(run, run_id, uri)
    with asking(uri):
        run.folder.mkdir(parents=True, exist_ok=True)
        _take_stages(search_run)
        fetch_records(search_run)
        _take_controls(search_run)
        _take_head(search_run, head, uri)
    return len(run.records.all())


def fetch_inputs(run: Run, run_id: str, pair: Pair, head: Path) -> None:
    """Fetches what the evaluation of a pair needs: the pool, the base's record and the parent's.

    Args:
        run: a worker's folder; what it holds already is not fetched again.
        run_id: of the search's run.
        pair: to be evaluated.
        head: what ``fetch_head`` downloaded.

    Raises:
        InputMissing: MLflow does not hold one of them.
        CheckpointError: what it holds is not what was sent.
        ServiceUnavailable: MLflow does not answer.
    """
    search_run = SearchRun.of_id(run, run_id, tracking_uri(run))
    with asking(tracking_uri(run)):
        _take_stages(search_run, only=run.settings.pool.phases[-1].name)
        if not run.pool.is_dir():
            raise InputMissing(f"MLflow has no pool of search {run.settings.name}")
        wanted = {_INDEX_TAG: "0", PAIR_TAG: str(pair.parent)}
        pairs = [search_run.child(tag, value) for tag, value in wanted.items()]
        for (tag, value), found in zip(wanted.items(), pairs, strict=True):
            if found is None:
                raise InputMissing(f"MLflow has no whole run of {tag} {value} of search {run.settings.name}")
        _take_records(search_run, filter(None, pairs))
        _take_head(search_run, head, tracking_uri(run))


def fetch_pair(run: Run, run_id: str, uri: str, head: Path, *, index: int | None) -> int:
    """Fetches into an empty folder what the registration of a pair needs: base, pair and parent; its index.

    Args:
        run: the folder, and the settings that ``head`` holds.
        run_id: of the search's run.
        uri: where MLflow listens.
        head: what ``fetch_head`` downloaded.
        index: of the pair; without it the pair of the highest score, the first of equals.

    Raises:
        InputMissing: MLflow has no such pair, or it failed.
        CheckpointError: a file is not what was sent.
        ServiceUnavailable: MLflow does not answer.
    """
    search_run = SearchRun.of_id(run, run_id, uri)
    with asking(uri):
        whole = search_run.whole_pairs()
        done = {int(each.data.tags[_INDEX_TAG]): each for each in whole if each.data.tags[STATUS] == "done"}
        chosen = _best(done) if index is None else index
        if not {0, chosen} <= done.keys():
            raise InputMissing(f"{run_id}: MLflow has no finished pair {chosen}; there are {sorted(done)}")
        parent = done[chosen].data.tags["jdn.parent_pair"]
        wanted = {0, chosen, *([int(parent)] if parent else [])} & done.keys()
        _take_records(search_run, (done[each] for each in wanted))
        _take_head(search_run, head, uri)
    return chosen


def fetch_records(search_run: SearchRun) -> None:
    """Fetches every record that MLflow holds whole and the folder does not.

    Where both sides remember the same, one comparison is all. A damaged record is left out, with a warning:
    its pair is evaluated again.
    """
    here = _keys(search_run.run)
    remembered = search_run.remembered()
    trainings = {stage.name for stage in stages(search_run.run)}
    if remembered is not None and here.union(trainings).issuperset(remembered):
        return
    taken = 0
    for found in search_run.whole_pairs():
        if (key := found.data.tags[PAIR_TAG]) not in here:
            try:
                taken += _take_record(search_run, found)
            except (UserError, FileNotFoundError) as error:
                logger.warning("pair %s was not taken from MLflow: %s", key, error)
    if taken:
        logger.info("%d records were fetched from MLflow", taken)


def fetch_result(run: Run, pair: Pair) -> bool:
    """Takes the record of a pair that a worker has evaluated; whether MLflow has it whole, hash by hash.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(tracking_uri(run)):
        search_run = SearchRun.find(run)
        found = search_run.child(PAIR_TAG, pair.key) if search_run else None
        if search_run is None or found is None:
            return False
        try:
            _take_record(search_run, found)
        except (CheckpointError, StorageError, FileNotFoundError) as error:
            logger.warning("pair %d came back damaged: %s", pair.index, error)
            search_run.experiment.abort(found.info.run_id)  # the next evaluation sends a run of its own
            return False
    return True


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
    with asking(tracking_uri(run)):
        search_run = SearchRun.find(run)
        found = search_run.child(PAIR_TAG, key) if search_run else None
        if search_run is None or found is None:
            raise InputMissing(f"pair {record.pair.index}: {', '.join(wrong)} is not to be had from MLflow")
        for name in wrong:
            with _scratch(run) as scratch:
                copy = search_run.experiment.download(found, name, scratch)
                content = durable.read_verified(copy, record.files[name])
            durable.write_bytes(run.records.path(key) / name, content)
    logger.info("%s of pair %d: fetched from MLflow", ", ".join(wrong), record.pair.index)
    return tuple(wrong)


def holds_weights(search_run: SearchRun, key: str) -> bool:
    """Returns whether MLflow's copy of a pair's weights, and of its trunk, is there, hash by hash."""
    record, found = search_run.run.records.get(key), search_run.child(PAIR_TAG, key)
    if record is None or found is None or WEIGHTS_FILE not in record.files:
        return False
    for name in record.files.keys() & set(TENSOR_FILES):
        with _scratch(search_run.run) as scratch:
            copy = search_run.experiment.download(found, name, scratch)
            if durable.sha256_of(copy) != record.files[name]:
                return False
    return True


def _take_stages(search_run: SearchRun, *, only: str | None = None) -> None:
    """Fetches the trainings that MLflow has and the folder has not, or that of one name."""
    for _, name, folder in stages(search_run.run):
        is_wanted = only in (None, name) and not folder.exists()
        if is_wanted and (found := search_run.child(STAGE_TAG, name)):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _take_stage(search_run.experiment, found, folder)


def _take_controls(search_run: SearchRun) -> None:
    """Fetches what was trained beside the winner of the records that are here; a resume makes the rest."""
    run = search_run.run
    records = run.records.all()
    if not records or records[0].evaluation is None:
        return
    for contender in assemble.contenders(run.settings, Standing(run.settings.score, records)):
        folder = run.contenders.path(contender.name)
        found = search_run.child(STAGE_TAG, control_name(contender))
        if found and run.contenders.get(contender) is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(exist_ok=True)
            _take_stage(search_run.experiment, found, folder)
    name = run.held_out.relative_to(run.folder).as_posix()
    with _scratch(run) as scratch, contextlib.suppress(InputMissing):
        own = search_run.experiment.client.get_run(search_run.id)
        copy = search_run.experiment.download(own, name, scratch)  # its seal is looked at by who reads it
        run.held_out.parent.mkdir(exist_ok=True)
        durable.write_bytes(run.held_out, copy.read_bytes())


def _take_stage(experiment: Experiment, found: MlflowRun, folder: Path) -> None:
    with _staged(folder) as staged:
        experiment.client.download_artifacts(found.info.run_id, "", str(staged))
        sent, got = found.data.tags.get(FILES_TAG), digest(staged)
        if got != sent:
            raise CheckpointError(f"{found.info.run_name}: MLflow's files have digest {got}, sent was {sent}")
        durable.commit_folder(staged, folder)


def _take_records(search_run: SearchRun, pairs: Iterable[MlflowRun]) -> None:
    here = _keys(search_run.run)
    for found in pairs:
        if found.data.tags[PAIR_TAG] not in here:
            _take_record(search_run, found)


def _take_record(search_run: SearchRun, found: MlflowRun) -> bool:
    """Commits the record that a pair's whole run holds; whether it is the one that is kept.

    Raises:
        CheckpointError: one of its files is not what the record says.
        StorageError: the record is damaged, or of another pair.
    """
    records, key = search_run.run.records, found.data.tags[PAIR_TAG]
    with _scratch(search_run.run) as scratch, _staged(records.path(key)) as staged:
        copy = search_run.experiment.files(found, scratch)
        record = read_record(copy)
        if record.pair.key != key:
            raise StorageError(f"{copy}: the record of another pair, {record.pair.key}")
        for name, sha256 in record.files.items():
            durable.write_bytes(_inside(staged, name), durable.read_verified(copy / name, sha256))
        kept = records.commit(record, staged)
        for target, latency in latencies.read(copy).items():
            records.note_latency(key, target, latency)
        return kept


def _take_head(search_run: SearchRun, head: Path, uri: str) -> None:
    """Puts the head in its place: ``settings.yaml`` comes last, so a folder that has one is whole."""
    folder = search_run.run.folder
    keep_links(folder, Links(address_of(uri), search_run.experiment.id, search_run.id))
    for name in sorted(HEAD_FILES, key=SETTINGS_FILE.__eq__):
        durable.write_bytes(folder / name, (head / name).read_bytes())


def _keys(run: Run) -> set[str]:
    return {record.pair.key for record in run.records.all()}


@contextmanager
def _staged(final: Path) -> Iterator[Path]:
    """Makes a folder to be filled and committed; what was not committed is dropped."""
    staged = durable.stage_folder(final)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _scratch(run: Run) -> AbstractContextManager[Path]:
    """Makes a folder for downloads on the search's disk; a resume removes what a crash left of it."""
    return _staged(run.folder / "work" / "fetched")


def _inside(folder: Path, name: str) -> Path:
    """Returns where a file of a record goes; a name that leads out of the folder is refused."""
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


def _best(done: dict[int, MlflowRun]) -> int:
    """Chooses as ``reports.tables.best_row`` does; pairs outside the hard bounds have no score."""
    worst = float("-inf")
    return max(done, key=lambda index: (done[index].data.metrics.get("score", worst), -index), default=0)
