"""Runs for MLflow as plain values: tags, params, metrics and files of a pair or of a training before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jdn_core.reports.tables import Candidate
from jdn_core.run.folder import TRAINING_FILE, TRAINING_SCHEMA, Run
from jdn_core.run.outcome import Outcome
from jdn_core.run.result_rows import record_row
from jdn_core.search import finetunings
from jdn_core.search.contenders import Contender, ContenderRecord
from jdn_core.search.finetunings import FineTuned
from jdn_core.search.held_out import HeldOut
from jdn_core.search.latencies import FACTS_FILE
from jdn_core.search.pairs import Evaluation, PairRecord
from jdn_core.search.records import RECORD_FILE
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from jdn_core.storage.canonical import content_key

# MLflow's limit is 6000; the longest notation that the paper could print has about 1500.
LONGEST_PARAM = 5900
CONTROL = "control "  # with which the name of a run that stands beside the pairs begins
FINETUNED = "finetuned "  # the same of a detector that was trained on after the search
PAIR_TAG, STAGE_TAG, FILES_TAG = "jdn.pair_key", "jdn.stage", "jdn.sha256"


class Number(NamedTuple):
    """A metric; the step of a loss is its epoch from 1, that of all else 0."""

    name: str
    value: float
    step: int = 0


class Stage(NamedTuple):
    """A training before the search, done or not: the base, a phase of the pool; or one beside or after it."""

    kind: Literal["base", "pool", "control", "finetuning"]
    name: str
    folder: Path


@dataclass(frozen=True)
class Entry:
    """A run below the search's own.

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
    is_candidate: bool = False


def stages(run: Run) -> tuple[Stage, ...]:
    """Returns every training before the search, in order, done or not."""
    phases = enumerate(run.settings.pool.phases)
    return (
        Stage("base", "base", run.base),
        *(Stage("pool", phase.name, run.phase(index)) for index, phase in phases),
    )


def control_stages(outcome: Outcome) -> dict[Stage, ContenderRecord]:
    """Returns what was trained beside a search's winner, with its record; empty before that.

    A search that is prolonged may have other controls, so the name holds the beginning of the key.
    """
    return {
        Stage("control", control_name(each.contender), outcome.run.contenders.path(each.contender.name)): each
        for each in outcome.records
    }


def control_name(contender: Contender) -> str:
    """Returns the identity of a contender among the search's runs."""
    return f"{CONTROL}{contender.name} {contender.key[:8]}"


def of_control(stage: Stage, record: ContenderRecord, outcome: Outcome) -> Entry:
    """Returns the run of a control, or of the winner finished, whose record is there."""
    entry = of_stage(stage, search=record.contender.search)
    if record.evaluation is None:
        return replace(entry, state="failed")
    row = record_row(outcome, record)
    timing = record.evaluation.timing
    return replace(
        entry,
        tags={**entry.tags, "jdn.action": row.action},
        params=_clipped({"student": row.student, "teacher": row.teacher, "action": row.action}),
        numbers=tuple(_graded_numbers(record.evaluation, row)),
        files=tuple(sorted(record.files)),
        started=timing.finished - timing.train_seconds,
        finished=timing.finished,
        is_candidate=True,
    )


def finetuning_stages(run: Run) -> dict[Stage, FineTuned]:
    """Returns every detector that was trained on after the search, with its record."""
    found = finetunings.all_in(run.finetuning())
    return {
        Stage("finetuning", f"{FINETUNED}{record.tuning.name}", folder): record
        for folder, record in found.items()
    }


def of_finetuning(stage: Stage, record: FineTuned, *, pair_run: str) -> Entry:
    """Returns the run of a detector that was trained on; ``pair_run`` is that of its pair, or empty."""
    tuning, timing, held_out = record.tuning, record.evaluation.timing, record.held_out
    frame = str(tuning.resolution)
    values = {"ap_before": record.before.ap, "latency_ms": timing.latency_ms.get(frame)}
    if held_out is not None:
        values |= {"holdout_ap_before": held_out.before, "holdout_ap": held_out.after}
    tags = {"jdn.finetuned_pair": tuning.pair or "", "jdn.pair_run": pair_run, "jdn.action": tuning.start}
    params = {"start": tuning.start, "epochs": str(tuning.epochs), "teacher": str(tuning.teacher or "none")}
    return replace(
        of_stage(stage, search=tuning.search),
        tags={**of_stage(stage, search=tuning.search).tags, **{k: v for k, v in tags.items() if v}},
        params=_clipped(params),
        numbers=tuple(_numbers(record.evaluation, frame, values)),
        files=tuple(sorted(record.files)),
        started=timing.finished - timing.train_seconds,
        finished=timing.finished,
        is_candidate=True,
    )


def of_held_out(found: HeldOut) -> tuple[Number, ...]:
    """Returns the metrics of a search's run: AP on held-out photos, and how far the result is ahead."""
    aps = {f"holdout_ap_{name}": measured.ap for name, measured in found.measured.items()}
    ends = found.difference.interval or ()
    differences = {"holdout_difference": found.difference.value}
    differences |= {
        f"holdout_difference_{end}": value for end, value in zip(("low", "high"), ends, strict=False)
    }
    counts = {"holdout_images": found.images, "holdout_boxes": found.boxes}
    return tuple(Number(name, float(value)) for name, value in (aps | differences | counts).items())


def of_pair(record: PairRecord, row: Candidate, folder: Path) -> Entry:
    """Returns the run of a pair.

    Args:
        record: of the pair.
        row: its row of the table of pairs.
        folder: the record's.
    """
    pair, evaluation = record.pair, record.evaluation
    written = (folder / RECORD_FILE).stat().st_mtime
    finished = evaluation.timing.finished if evaluation else written
    tags = {
        "jdn.kind": "pair",
        "jdn.search": pair.search,
        "jdn.pair_index": str(pair.index),
        PAIR_TAG: pair.key,
        "jdn.parent_pair": "" if row.parent is None else str(row.parent),
        "jdn.action": pair.action,
    }
    return Entry(
        name=f"pair {pair.index:04}: {pair.action}",
        identity=(PAIR_TAG, pair.key),
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


def of_stage(stage: Stage, *, search: str) -> Entry:
    """Returns the run of a training before the search, whose folder is there."""
    file = stage.folder / TRAINING_FILE
    training: dict[str, Any] = {"losses": {}, "seconds": 0.0}
    if file.is_file():
        training = durable.read_json(file, schema=TRAINING_SCHEMA)
    finished = stage.folder.stat().st_mtime
    tags = {"jdn.kind": stage.kind, "jdn.search": search, STAGE_TAG: stage.name}
    return Entry(
        name=stage.name,
        identity=(STAGE_TAG, stage.name),
        tags=tags | {FILES_TAG: digest(stage.folder)},
        params={},
        numbers=(Number("train_seconds", training["seconds"]), *_losses(training["losses"])),
        folder=stage.folder,
        state="done",
        started=finished - training["seconds"],
        finished=finished,
    )


def digest(folder: Path) -> str:
    """Hashes the names and contents of all files of a folder into one key; latencies may be added later."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FACTS_FILE)
    return content_key({path.relative_to(folder).as_posix(): durable.sha256_of(path) for path in files})


def flat_settings(settings: Settings) -> dict[str, str]:
    """Returns settings as params, ``search.top_k`` -> ``5``, without those that are not set."""
    return _clipped(dict(_flat(settings.model_dump(mode="json"), "")))


def _pair_numbers(record: PairRecord, row: Candidate) -> Iterator[Number]:
    if record.evaluation is not None:
        yield Number("pair_index", record.pair.index)
        if row.teacher_ap is not None:
            yield Number("teacher_ap", row.teacher_ap)
        yield from _graded_numbers(record.evaluation, row)


def _graded_numbers(evaluation: Evaluation, row: Candidate) -> Iterator[Number]:
    return _numbers(evaluation, str(row.resolution), {"score": row.score, "latency_ms": row.latency_ms})


def _numbers(evaluation: Evaluation, frame: str, more: Mapping[str, float | None]) -> Iterator[Number]:
    """Yields what was measured, the twelve numbers at one frame, and what else is known of it."""
    chosen = next(each for each in evaluation.measurements if str(each.resolution) == frame)
    names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_s": "APs", "ap_m": "APm", "ap_l": "APl"}
    values: dict[str, float | None] = {name: chosen.coco[key] for name, key in names.items()}
    values |= {**more, "gmacs": chosen.macs / 1e9}
    values |= {"params_m": evaluation.params / 1e6, "train_seconds": evaluation.timing.train_seconds}
    values |= {f"latency_ms_{target}": ms for target, ms in evaluation.latency.items()}
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
