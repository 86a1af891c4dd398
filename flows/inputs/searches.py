"""A search seen from outside, by its folder alone: how it stands, and its table of pairs."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from flows.inputs.settings_file import read_back
from jdn_core.errors import InputMissing, OwnedByAnother, UsageError
from jdn_core.reports.tables import Candidate, base_row, best_row, candidates
from jdn_core.run import outcome
from jdn_core.run.folder import Run
from jdn_core.run.latency_model import LatencyModel, with_predictions
from jdn_core.run.result_rows import result_row
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import Records
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import Settings, parse
from jdn_core.storage import durable


def rows(folder: Path) -> tuple[Candidate, ...]:
    """Returns the table of pairs, by index."""
    return _rows(folder, read_back(folder), Records(folder).all())


class Rescored(NamedTuple):
    """A search under another score.

    Attributes:
        rows: the table of pairs, by index; the latency is the target's where that is the cost.
        measured: indices of the pairs that the target has timed; none where latency is not the cost.
        model: predicts the latency of all others; none where nothing is predicted.
    """

    rows: tuple[Candidate, ...]
    measured: frozenset[int] = frozenset()
    model: LatencyModel | None = None


def rescored(folder: Path, score: Mapping[str, Any]) -> Rescored:
    """Ranks the pairs under other settings of the score; pairs that a target has not timed are predicted.

    Raises:
        SettingsError: a value is out of its range.
        InputMissing: the target has timed neither the base nor enough pairs to predict it.
    """
    settings, records = read_back(folder), Records(folder).all()
    data = settings.model_dump(mode="json")
    data["score"] |= dict(score)
    if data["score"]["cost"] != "latency":
        return Rescored(_rows(folder, parse(data, source="score"), records))
    target = data["score"]["target"] or _only_target(folder, records)
    data["score"]["target"] = target
    if target not in {each["name"] for each in data["targets"]}:  # it was timed under this name all the same
        data["targets"].append({"name": target})
    settings = parse(data, source="score")
    filled, model = with_predictions(records, target)
    if not any(record.evaluation and target in record.evaluation.latency for record in filled[:1]):
        what = f"{folder}: {target} has not timed the base"
        raise InputMissing(f"{what}; `jdn measure-latency {folder} --target {target}` does")
    table = _rows(folder, settings, filled)
    known = {r.pair.index: r.evaluation.latency[target] for r in filled if r.evaluation}
    measured = frozenset(r.pair.index for r in records if r.evaluation and target in r.evaluation.latency)
    shown = tuple(row._replace(latency_ms=known.get(row.index)) for row in table)
    return Rescored(shown, measured, model)


def _only_target(folder: Path, records: Sequence[PairRecord]) -> str:
    """Returns the target that has timed the search's pairs, if it is one."""
    names = sorted({name for record in records if record.evaluation for name in record.evaluation.latency})
    if len(names) == 1:
        return names[0]
    known = ", ".join(names) or "none; `jdn measure-latency` makes one"
    raise UsageError(f"{folder}: --cost latency needs --target; there are: {known}")


def row(folder: Path, index: int | None) -> Candidate:
    """Returns the row of a pair that has a detector; without an index that of the search's result.

    The result is the best pair, or what beat it among the controls and the winner trained to its end.

    Raises:
        InputMissing: there is no such pair, or it failed.
    """
    table = rows(folder)
    if index is None:
        if not table:
            raise InputMissing(f"{folder}: the search has no pairs yet")
        return result_row(outcome.of(Run(read_back(folder), folder)))
    for candidate in table:
        if candidate.index == index and candidate.weights is not None:
            return candidate
    known = [candidate.index for candidate in table if candidate.weights is not None]
    raise InputMissing(f"{folder}: no finished pair {index}; there are {known}")


def base(folder: Path) -> Candidate:
    """Returns the base's row, at the largest resolution.

    Raises:
        InputMissing: there is none yet.
    """
    settings, records = read_back(folder), Records(folder).all()
    if not any(record.pair.index == 0 and record.evaluation for record in records):
        raise InputMissing(f"{folder}: the search has no pairs yet")
    return base_row(Standing(settings.score, records), folder=folder)


def status(folder: Path) -> dict[str, Any]:
    """Describes a search; ``eta_s`` and ``cost_s`` are seconds, ``eta_s`` is None where it is not known."""
    settings, records = read_back(folder), Records(folder).all()
    owner = _owner(folder)
    total = settings.search.iterations + 1
    table = _rows(folder, settings, records)
    best = best_row(table) if any(candidate.score is not None for candidate in table) else None
    finished = len(records) >= total and (folder / "report" / "index.html").is_file()
    pace = _pace(records, settings.search.workers)
    return {
        "state": "running" if owner else "finished" if finished else "interrupted",
        "stage": _stage(folder, records, finished),
        "owner": owner,
        "done": sum(record.state == "done" for record in records),
        "failed": sum(record.state == "failed" for record in records),
        "running": len(_under_way(folder, records)) if owner else 0,
        "iterations": settings.search.iterations,
        "best": best.to_json() if best else None,
        "eta_s": None if pace is None else pace * max(0, total - len(records)),
        "cost_s": sum(record.evaluation.timing.train_seconds for record in records if record.evaluation),
    }


@contextmanager
def held(folder: Path, *, advice: str) -> Iterator[Run]:
    """Gives the run in a folder, which no other process works in until the block ends.

    Raises:
        OwnedByAnother: one does; the message ends with the advice.
    """
    settings = read_back(folder)
    try:
        with durable.own(folder):
            yield Run(settings, folder.resolve())
    except OwnedByAnother as error:
        raise OwnedByAnother(f"{error}; {advice}") from None


def _rows(folder: Path, settings: Settings, records: Sequence[PairRecord]) -> tuple[Candidate, ...]:
    if not any(record.pair.index == 0 and record.evaluation for record in records):
        return ()
    return candidates(Standing(settings.score, records), folder=folder)


def _owner(folder: Path) -> str:
    """Returns who holds the search, as its lock says; empty where no process does."""
    try:
        with (folder / durable.LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return ""
    except BlockingIOError:
        return (folder / durable.LOCK_FILE).read_text().strip() or "another process"
    return ""


def _stage(folder: Path, records: Sequence[PairRecord], finished: bool) -> str:
    if finished:
        return "report"
    if records:
        return "search"
    return "pool" if (folder / "base" / "detector.json").is_file() else "base"


def _under_way(folder: Path, records: Sequence[PairRecord]) -> set[str]:
    """Returns keys of the pairs that were begun and have no record yet."""
    begun = folder / "work" / "pairs"
    names = {path.name for path in begun.iterdir()} if begun.is_dir() else set()
    return names - {record.pair.key for record in records}


def _pace(records: Sequence[PairRecord], workers: int) -> float | None:
    """Returns median seconds per finished pair; over as many pairs as workers, which end in bursts."""
    times = sorted(record.evaluation.timing.finished for record in records if record.evaluation)
    spans = [(after - before) / workers for before, after in zip(times, times[workers:], strict=False)]
    return median(spans) if spans else None
