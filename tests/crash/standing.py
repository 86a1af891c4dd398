"""All that a search has made, without what a clock said: two searches that are the same have the same."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from pathlib import Path
from typing import Any

from jdn_core.run.folder import TRAINING_FILE, Run
from jdn_core.settings.whole import Settings
from jdn_core.storage import durable
from tasks.tracking.search_run import PUBLISHED_FILE
from tests import results
from tests.crash.tiny_search import best

_CLOCKS = ("train_seconds", "latency")
_WEIGHTS = ("weights.safetensors", "detector.json", "pool.json")


def standing(settings: Settings, folder: Path) -> dict[str, Any]:
    """Records, weights, the best pairs, what MLflow holds, and what should not be there."""
    run = Run(settings, folder)
    stages = [run.base, *(run.phase(index) for index in range(len(settings.pool.phases)))]
    return {
        "records": results.digest(run.records),
        "pairs": sorted(path.name for path in folder.glob("pairs/*")),
        "problems": [str(problem) for problem in results.problems(run.records)],
        "contenders": results.contenders(run),
        "finetuned": results.finetuned(run),
        "best": best(run) if run.records.all() else [],
        "weights": {
            str(path.relative_to(folder)): durable.sha256_of(path)
            for path in sorted(folder.glob("*/**/*"))
            if path.name in _WEIGHTS and "mlartifacts" not in path.parts
        },
        "losses": [durable.read_json(stage / TRAINING_FILE)["losses"] for stage in stages if stage.is_dir()],
        "leftovers": sorted(path.name for path in folder.rglob(".*.tmp")),
        "work": sorted({path.name for path in (folder / "work").iterdir()} - {PUBLISHED_FILE.name}),
        "mlflow": _tracked(folder),
    }


def differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Where two standings differ, a line each."""
    if isinstance(found, dict) and isinstance(expected, dict):
        names = sorted(found.keys() | expected.keys())
        return [
            line
            for name in names
            for line in differences(found.get(name), expected.get(name), f"{place}.{name}".strip("."))
        ]
    return [] if found == expected else [f"{place}: {found!r:.300} instead of {expected!r:.300}"]


def _tracked(folder: Path) -> dict[str, Any]:
    """Every run in MLflow by what it stands for, out of the tables themselves; what is there twice shows."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        for run, key, value in database.execute("SELECT run_uuid, key, value FROM tags"):
            tags[run][key] = value
        numbers: dict[str, list[Any]] = defaultdict(list)
        for run, *number in database.execute("SELECT run_uuid, key, step, value FROM metrics"):
            if not str(number[0]).startswith(_CLOCKS):
                numbers[run].append(number)
        runs = database.execute("SELECT run_uuid, status, artifact_uri FROM runs").fetchall()
        models = database.execute("SELECT count(*) FROM logged_models").fetchone()[0]
    database.close()
    told: dict[str, Any] = {"models": models}
    for run, status, place in runs:
        if (tags[run].get("jdn.status"), status) == ("aborted", "KILLED"):
            continue
        name = next((tags[run][key] for key in ("jdn.pair_key", "jdn.stage") if key in tags[run]), "search")
        files = sorted(
            path.relative_to(place.removeprefix("file://")).as_posix()
            for path in Path(place.removeprefix("file://")).rglob("*")
            if path.is_file()
        )
        told.setdefault(name, []).append(
            {"state": [status, tags[run].get("jdn.status")], "numbers": sorted(numbers[run]), "files": files}
        )
    return dict(json.loads(json.dumps(told)))
