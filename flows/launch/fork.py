"""A new search from an old one's pairs, under settings that a resume must refuse (RELIABILITY, rule 9)."""

from __future__ import annotations

import shutil
from pathlib import Path

from flows.inputs import settings_file
from flows.inputs.settings_file import read_back
from flows.launch.start import flat
from flows.launch.trained import link_or_copy
from jdn_core.detector.trunk import TENSOR_FILES
from jdn_core.errors import CheckpointError, FingerprintError, InputMissing, Problem, UsageError
from jdn_core.processes.progress import report
from jdn_core.run.file_names import FINGERPRINT_FILE, SETTINGS_FILE
from jdn_core.run.fingerprint import fingerprint, noted
from jdn_core.run.folder import Run
from jdn_core.run.identity import search_id, write_search_id
from jdn_core.search import latencies
from jdn_core.search.forking import replanted
from jdn_core.search.pairs import PairRecord
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tasks.tracking import restore_files

# What an evaluation's numbers mean; with another value they could not be compared with new ones.
_MEANING = ("data.resolutions", "data.holdout", "detector.", "pool.space.")


def fork(source: Path, out: Path, settings: Settings) -> int:
    """Makes ``out`` a search that has the pairs of ``source`` and other settings; returns how many pairs.

    Base, pool and the pairs' files are linked where the file system can, for none of them ever changes.

    Raises:
        UsageError: the folder is not free, or the settings ask for no more pairs than there are.
        FingerprintError: the old numbers mean something else than new ones would; old -> new, a line each.
        InputMissing: the old search has no pairs, or weights of it are nowhere.
        CheckpointError: a file of the old search is damaged.
    """
    old, out = Run(read_back(source), source.resolve()), out.expanduser().resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty; choose another --fork DIR")
    with durable.own(old.folder):
        _refuse_other_meaning(old, settings)
        records = old.records.all()
        if not records or records[0].evaluation is None:
            raise InputMissing(f"{source}: has no pairs yet to begin from")
        if len(records) > settings.search.iterations:
            wanted = f"--set search.iterations=N, N >= {len(records)}, lets the fork go on"
            raise UsageError(f"{source} has {len(records) - 1} pairs after the base already; {wanted}")
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = durable.stage_folder(out)
        try:
            _fill(staged, old, records, settings)
            durable.commit_folder(staged, out)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return len(records)


def _fill(staged: Path, old: Run, records: tuple[PairRecord, ...], settings: Settings) -> None:
    """Writes the new search's files; every one is compared with its hash on the way."""
    new = Run(settings, staged)
    for stage in ("base", "pool"):
        shutil.copytree(old.folder / stage, staged / stage, copy_function=link_or_copy)
    planted = replanted(records, search=settings.name, seed=settings.seed)
    for number, (key, record) in enumerate(planted.items(), start=1):
        report("fork", number, len(planted))
        tensors = record.files.keys() & set(TENSOR_FILES)
        if not all((old.records.path(key) / name).exists() for name in tensors):
            restore_files(old, key)
        folder = new.records.staging(record.pair.key)
        for name in record.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(str(old.records.path(key) / name), str(folder / name))
        new.records.commit(record, folder)
        kept = new.records.get(record.pair.key)
        if kept is None or kept.files != record.files:
            raise CheckpointError(f"{old.records.path(key)}: damaged; `jdn verify {old.folder}` says more")
        for target, found in latencies.read(old.records.path(key)).items():
            new.records.note_latency(record.pair.key, target, found)
    origin = search_id(old.folder) or str(old.folder)
    write_search_id(staged, forked_from=origin)
    durable.write_bytes(staged / SETTINGS_FILE, settings_file.dump(settings).encode())


def _refuse_other_meaning(old: Run, settings: Settings) -> None:
    before, after = (flat(each.model_dump(mode="json")) for each in (old.settings, settings))
    problems = [
        Problem(
            SETTINGS_FILE,
            name,
            f"must stay {was!r}, or the old pairs mean something else",
            repr(after.get(name)),
        )
        for name, was in before.items()
        if name.startswith(_MEANING) and was != after.get(name)
    ]
    data, now = noted(old.folder), fingerprint(settings)
    for split in ("train", "val"):
        if data.get(split) != now[split]:
            what = f"was {data.get(split)!r}, and the old pairs were measured on it"
            problems.append(Problem(FINGERPRINT_FILE, split, what, repr(now[split]), "begin a new search"))
    if problems:
        raise FingerprintError.of(problems)
