"""What MLflow shall hold of a search, as plain values; nothing is sent here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jdn_core.reports.tables import Candidate
from jdn_core.run.folder import TRAINING_FILE
from jdn_core.search.pairs import PairRecord
from jdn_core.search.records import RECORD_FILE
from jdn_core.settings.whole import Settings
from jdn_core.space.architecture import content_key
from jdn_core.storage import durable

# MLflow's limit is 6000; the longest notation that the paper could print has about 1500.
LONGEST_PARAM = 5900
FILES_TAG = "jdn.sha256"


class Number(NamedTuple):
    """A metric; losses count their epochs from 1, all else is at step 0."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Entry:
    """A run to be, below the search's own.

    Attributes:
        name: what people see.
        identity: a tag and its value that find the run again, unique among the search's runs.
        tags, params, numbers: what it holds.
        folder: its files, all of them artifacts.
        files: names of those that must be there.
        state: ``done`` or ``failed``.
        started, finished: seconds since the epoch.
        is_candidate: whether it is also a row of the table of models.
    """

    name: str
    identity: tuple[str, str]
    tags: Mapping[str, str]
    params: Mapping[str, str]
    numbers: tuple[Number, ...]
    folder: Path
    state: Literal["done", "failed"]
    started: float
    finished: float
    files: tuple[str, ...] = ()
    is_candidate: bool = field(default=False)


def of_pair(record: PairRecord, row: Candidate, folder: Path) -> Entry:
    """The run of a pair; ``folder`` is its record's."""
    pair, evaluation = record.pair, record.evaluation
    written = (folder / RECORD_FILE).stat().st_mtime
    finished = evaluation.timing.finished if evaluation else written
    tags = {
        "jdn.kind": "pair",
        "jdn.search": pair.search,
        "jdn.pair_index": str(pair.index),
        "jdn.pair_key": pair.key,
        "jdn.parent_pair": "" if row.parent is None else str(row.parent),
        "jdn.action": pair.action,
    }
    return Entry(
        name=f"pair {pair.index:04}: {pair.action}",
        identity=("jdn.pair_key", pair.key),
        tags=tags | ({"jdn.reason": record.reason} if record.reason else {}),
        params=_clipped({"student": row.student, "teacher": row.teacher, "action": pair.action}),
        numbers=tuple(_pair_numbers(record, row)),
        folder=folder,
        state=record.state,
        started=finished - (evaluation.timing.train_seconds if evaluation else 0.0),
        finished=finished,
        files=tuple(sorted(record.files)),
        is_candidate=record.state == "done",
    )


def of_stage(kind: Literal["base", "pool"], name: str, folder: Path, *, search: str) -> Entry:
    """The run of a training before the search: the base, or a phase of the pool."""
    file = folder / TRAINING_FILE
    training: dict[str, Any] = durable.read_json(file) if file.is_file() else {"losses": {}, "seconds": 0.0}
    finished = folder.stat().st_mtime
    return Entry(
        name=name,
        identity=("jdn.stage", name),
        tags={"jdn.kind": kind, "jdn.search": search, "jdn.stage": name, FILES_TAG: digest(folder)},
        params={},
        numbers=(Number("train_seconds", training["seconds"]), *_losses(training["losses"])),
        folder=folder,
        state="done",
        started=finished - training["seconds"],
        finished=finished,
    )


def digest(folder: Path) -> str:
    """One key for the names and contents of all files of a folder; a pair's files have their hashes in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return content_key({path.relative_to(folder).as_posix(): durable.sha256_of(path) for path in files})


def flat_settings(settings: Settings) -> dict[str, str]:
    """Settings as params: ``search.top_k`` -> ``5``; what is not set is left out."""
    return _clipped(dict(_flat(settings.model_dump(mode="json"), "")))


def _pair_numbers(record: PairRecord, row: Candidate) -> Iterator[Number]:
    evaluation = record.evaluation
    if evaluation is None:
        return
    chosen = next(each for each in evaluation.measurements if str(each.resolution) == row.resolution)
    names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_s": "APs", "ap_m": "APm", "ap_l": "APl"}
    values: dict[str, float | None] = {name: chosen.coco[key] for name, key in names.items()}
    values |= {"pair_index": record.pair.index}
    values |= {"score": row.score, "gmacs": chosen.macs / 1e9, "latency_ms": row.latency_ms}
    values |= {"params_m": evaluation.params / 1e6, "train_seconds": evaluation.timing.train_seconds}
    values |= {f"ap_{each.resolution}": each.ap for each in evaluation.measurements}
    values |= {f"gmacs_{each.resolution}": each.macs / 1e9 for each in evaluation.measurements}
    yield from (Number(name, value) for name, value in values.items() if value is not None)
    yield from _losses(evaluation.losses)


def _losses(losses: Mapping[str, Any]) -> Iterator[Number]:
    for name, values in losses.items():
        label = name if name.startswith("loss") else f"loss_{name}"
        yield from (
            Number(label, value, step) for step, value in enumerate(values, start=1) if math.isfinite(value)
        )


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}.{name}".strip("."))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for position, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}.{position}")
    elif value is not None:
        yield prefix, str(value)


def _clipped(params: Mapping[str, str]) -> dict[str, str]:
    return {name: text[:LONGEST_PARAM] for name, text in params.items()}
