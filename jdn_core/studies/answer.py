"""What a study came to, as plain data: ``study.json``, what its command prints, and what its page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.errors import StorageError
from jdn_core.run import datasets
from jdn_core.storage import durable
from jdn_core.studies import results, verdict
from jdn_core.studies.arms import Arm
from jdn_core.studies.folder import SCHEMA, STUDY_FILE, StudyFolder
from jdn_core.studies.results import ArmResult, Numbers
from jdn_core.studies.study import Study
from jdn_core.studies.verdict import Finding, Found

Trained = Mapping[str, tuple[Arm, ArmResult]]  # name of an arm -> the arm and its result, under one seed


def conclude(studies: StudyFolder, study: Study, by_seed: Sequence[Trained]) -> dict[str, Any]:
    """Compares the arms; the same results give the same answer.

    Args:
        studies: their folder.
        study: whose arms they are.
        by_seed: what was trained under each seed.
    """
    found = [_found(studies, seed, trained) for seed, trained in enumerate(by_seed)]
    comparisons = study.compared(studies.settings)
    findings = [verdict.find(each, found, seed=studies.settings.seed) for each in comparisons]
    return {
        "study": study.name,
        "label": study.label,
        "claim": study.claim,
        "paper": study.number,
        **headline(findings),
        "rows": rows(by_seed),
        "comparisons": [finding.to_json() for finding in findings],
        "seeds": len(by_seed),
        "measured_on": _photos(studies),
    }


def headline(findings: Sequence[Finding]) -> dict[str, Any]:
    """Returns the verdict, and the difference of the first comparison with its interval."""
    first = findings[0]
    interval = None if first.interval is None else list(first.interval)
    return {"verdict": verdict.overall(findings), "difference": first.difference, "interval": interval}


def rows(by_seed: Sequence[Trained]) -> list[dict[str, Any]]:
    """Returns a row for each arm: means over the seeds, and AP of each."""
    names = dict.fromkeys(name for trained in by_seed for name in trained)
    return [_row(name, [trained[name][1] for trained in by_seed if name in trained]) for name in names]


def keep(answer: Mapping[str, Any], folder: Path, *, seconds: float) -> dict[str, Any]:
    """Writes the answer into a study's folder with the time that it took; one that says the same stays.

    Raises:
        StorageError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = read(folder)
    if before is not None and without_times(before) == without_times(answer):
        return before
    durable.write_json(folder / STUDY_FILE, {**answer, "seconds": seconds}, schema=SCHEMA, seal=True)
    return read(folder) or {}


def read(folder: Path) -> dict[str, Any] | None:
    """Returns the answer in a study's folder; none where there is no whole one."""
    try:
        data: dict[str, Any] = durable.read_json(folder / STUDY_FILE, schema=SCHEMA)
    except (FileNotFoundError, StorageError):
        return None
    return data


def without_times(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an answer without the seconds in it, which differ between two runs of the same study."""
    untimed = [{name: value for name, value in row.items() if name != "seconds"} for row in answer["rows"]]
    return {name: value for name, value in answer.items() if name != "seconds"} | {"rows": untimed}


def _found(studies: StudyFolder, seed: int, trained: Trained) -> dict[str, Found]:
    return {
        name: Found(result.numbers, results.read_matches(studies.arm(seed, arm), result))
        for name, (arm, result) in trained.items()
        if result.numbers is not None
    }


def _row(name: str, found: Sequence[ArmResult]) -> dict[str, Any]:
    """Returns the row of one arm; numbers are none where it failed under every seed."""
    done = [result.numbers for result in found if result.numbers is not None]
    costs = [result.cost for result in found if result.numbers is not None]
    return {
        "arm": name,
        "seeds": len(done),
        "ap": _mean(each.ap for each in done),
        "ap_by_seed": [None if result.numbers is None else result.numbers.ap for result in found],
        "ap_val": _mean(each.ap_val[str(each.resolution)] for each in done),
        "score": _mean(map(_score, done)),
        "bn_weight": _mean(each.bn_weight for each in done),
        "macs": _mean(each.macs for each in done),
        "params": _mean(each.params for each in done),
        "resolutions": sorted({str(each.resolution) for each in done}),
        "image_macs": _mean(cost.image_macs for cost in costs),
        "seconds": _mean(cost.seconds for cost in costs),
        "failures": [result.reason for result in found if result.reason],
    }


def _score(numbers: Numbers) -> float:
    offset, slope = numbers.score
    return offset + slope * numbers.ap


def _mean(values: Iterable[float]) -> float | None:
    every = list(values)
    return mean(every) if every else None


def _photos(studies: StudyFolder) -> dict[str, Any]:
    """Says what AP was measured on; photos of val chose the resolutions, so held-out ones are better."""
    data = studies.settings.data
    held_out = datasets.held_out(data)
    photos: CocoDataset = held_out or datasets.dataset(data, "val")
    boxes = sum(len(image.labels) for image in photos.images)
    split = "val" if held_out is None else "held-out photos"
    return {"photos": split, "images": len(photos.images), "boxes": boxes}
