"""All that is wrong with a run's folder, found by reading every file of it: records, hashes, weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jdn_core.detector.folder import SPEC_FILE, WEIGHTS_FILE, load_detector
from jdn_core.detector.trunk import TENSOR_FILES, load_trunk
from jdn_core.errors import Problem, StorageError, UserError
from jdn_core.pool.folder import load_pool
from jdn_core.processes.progress import report
from jdn_core.run import outcome
from jdn_core.run.folder import Run
from jdn_core.search import finetunings
from jdn_core.search.pairs import PairRecord
from jdn_core.storage import durable

TRAINED_AGAIN = "remove that folder; `jdn resume` trains it again"
TUNED_AGAIN = "remove that folder; `jdn finetune` trains it again"
AGAIN = "remove that folder; `jdn resume` fetches it from MLflow, or evaluates the pair again"


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        records: how many are whole.
        problems: what is wrong, each with what can be done about it.
        dropped: keys of the pairs whose weights left on purpose, so that MLflow must have them.
    """

    records: int
    problems: list[Problem] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)


def inspect(run: Run) -> Inspection:
    """Reads everything that a search needs to go on, and builds every detector; nothing is changed."""
    records = run.records.all()
    found = Inspection(len(records))
    remedy = "take the folder of an intact copy, or fetch it with `jdn resume DIR --from-mlflow RUN_ID`"
    found.problems.extend(_loading(run, run.base, load_trunk, remedy))
    found.problems.extend(_loading(run, run.pool, load_pool, remedy))
    for problem in run.records.problems():
        found.problems.append(Problem(problem.file, problem.where, problem.what, problem.value, AGAIN))
    may_go = run.settings.tracking.keep_weights == "needed"
    for number, record in enumerate(records, start=1):
        report("verify", number, len(records), "")
        key = record.pair.key
        gone = (not (run.records.path(key) / name).exists() for name in TENSOR_FILES if name in record.files)
        if may_go and record.pair.index > 0 and any(gone):
            found.dropped.add(key)
        found.problems.extend(_pair_problems(run, record, dropped=key in found.dropped))
    if records and records[0].evaluation is not None:
        for beside in outcome.of(run).records:
            folder = run.contenders.path(beside.contender.name)
            found.problems.extend(_file_problems(run, folder, beside.files, TRAINED_AGAIN))
    for folder, tuned in finetunings.all_in(run.finetuning()).items():
        found.problems.extend(_file_problems(run, folder, tuned.files, TUNED_AGAIN))
    return found


def _loading(run: Run, folder: Path, load: Callable[[Path], object], remedy: str) -> Iterator[Problem]:
    """Yields why a stage's folder cannot be loaded; a stage that is not trained yet is no problem."""
    if folder.is_dir():
        try:
            load(folder)
        except UserError as error:
            yield Problem(_name(run, folder), "", "cannot be loaded", str(error), remedy)


def _pair_problems(run: Run, record: PairRecord, *, dropped: bool) -> Iterator[Problem]:
    folder = run.records.path(record.pair.key)
    place = _name(run, folder)
    skipped = TENSOR_FILES if dropped else (WEIGHTS_FILE,)  # loading the weights below looks at their hash
    files = {name: sha256 for name, sha256 in record.files.items() if name not in skipped}
    wrong = [*_file_problems(run, folder, files, AGAIN)]
    yield from wrong
    if record.evaluation is None or dropped or wrong:
        return
    if record.files.get(WEIGHTS_FILE) != record.evaluation.weights:
        what = f"the record's two hashes must agree, {record.evaluation.weights} was measured"
        yield Problem(place, WEIGHTS_FILE, what, str(record.files.get(WEIGHTS_FILE)), AGAIN)
    try:
        detector = load_detector(folder)
    except UserError as error:
        yield Problem(place, WEIGHTS_FILE, "cannot be loaded", str(error), AGAIN)
        return
    if detector.spec.backbone != record.pair.student.backbone:
        yield Problem(place, SPEC_FILE, "is of another student than the record", "", AGAIN)
    if durable.sha256_of(folder / WEIGHTS_FILE) != record.evaluation.weights:
        yield Problem(place, WEIGHTS_FILE, f"SHA-256 must be {record.evaluation.weights}", "another", AGAIN)


def _file_problems(run: Run, folder: Path, files: Mapping[str, str], remedy: str) -> Iterator[Problem]:
    """Yields the files of a record that are gone, or not what the record says."""
    for name, sha256 in sorted(files.items()):
        try:
            got = durable.sha256_of(folder / name)
        except (FileNotFoundError, StorageError) as error:
            got = str(error)
        if got != sha256:
            yield Problem(_name(run, folder), name, f"SHA-256 must be {sha256}", got, remedy)


def _name(run: Run, folder: Path) -> str:
    return folder.relative_to(run.folder).as_posix()
