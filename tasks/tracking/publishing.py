"""A pair's detector as a version in MLflow's Model Registry, with its card and where it comes from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jdn_core.detector.folder import WEIGHTS_FILE, load_spec
from jdn_core.errors import InputMissing, UsageError
from jdn_core.reports import texts
from jdn_core.reports.curves import action_text
from jdn_core.reports.tables import Candidate
from jdn_core.run.folder import Run
from jdn_core.settings.sections import LONGEST_NAME, NAME
from tasks.tracking import restore_files
from tasks.tracking.links import pages, shown, tracking_uri
from tasks.tracking.mirror import Mirror
from tasks.tracking.registry import FRAME_TAG, KEY_TAG, WEIGHTS_TAG, Submission, register
from tasks.tracking.restoring import PAIR_TAG
from tasks.tracking.server import asking

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TAKEN = re.compile(r"latest|v\d+", re.IGNORECASE)  # MLflow reads them as versions


class Published(NamedTuple):
    """A version, and how to come to it.

    ``uri`` follows the alias, ``page`` shows the version in MLflow's pages.
    """

    model: str
    version: int
    alias: str
    uri: str
    page: str
    pair: int
    key: str
    sha256: str


def check_names(model: str, alias: str) -> None:
    """Refuses names that MLflow, a URI or a shell would not take.

    Raises:
        UsageError: one of them breaks its rule.
    """
    if not _ALIAS.fullmatch(alias) or _TAKEN.fullmatch(alias):
        rule = "must be letters, digits, - and _, and neither latest nor v1, v2, ..."
        raise UsageError(f"alias {rule}, got {alias!r}")
    if not re.fullmatch(NAME, model) or len(model) > LONGEST_NAME:
        rule = f"must be up to {LONGEST_NAME} letters, digits, ., - and _, a letter or digit first"
        raise UsageError(f"model's name {rule}, got {model!r}")


def is_told(run: Run, key: str) -> bool:
    """Whether MLflow has the whole run of a pair.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    with asking(tracking_uri(run)):
        mirror = Mirror.find(run)
        return mirror is not None and mirror.child(PAIR_TAG, key) is not None


def publish_pair(run: Run, row: Candidate, base: Candidate, *, model: str, alias: str) -> Published:
    """Registers a pair's detector and gives it the alias; a second time only the alias moves.

    Damaged or dropped weights are fetched from MLflow first; none are registered whose hash does not hold.

    Args:
        run: of the search, which may be running.
        row: of the pair.
        base: row of the base, to compare with.
        model: name of the registered model.
        alias: of the version.

    Raises:
        UsageError: a name breaks MLflow's rules.
        InputMissing: MLflow has no run of the pair, or weights are nowhere.
        CheckpointError: the weights are damaged, and MLflow's copy too.
        ServiceUnavailable: MLflow does not answer.
    """
    check_names(model, alias)
    restore_files(run, row.key)
    folder, uri = run.records.path(row.key), tracking_uri(run)
    with asking(uri):
        mirror = Mirror.find(run)
        found = mirror.child(PAIR_TAG, row.key) if mirror else None
        if mirror is None or found is None:
            raise InputMissing(f"MLflow at {shown(uri)} has no run of pair {row.index}")
        origin = _origin(mirror, row, found.info.run_id)
        card = _card(run, folder, row, base, model=model)
        resolution = str(row.resolution)
        version = register(mirror.server, found, Submission(folder, model, alias, resolution, card, origin))
    address = pages(uri)
    return Published(
        model=model,
        version=version,
        alias=alias,
        uri=f"models:/{model}@{alias}",
        page=f"{address}/#/models/{quote(model)}/versions/{version}",
        pair=row.index,
        key=row.key,
        sha256=str(row.sha256),
    )


def _origin(mirror: Mirror, row: Candidate, run_id: str) -> dict[str, str]:
    """Tags of a version: which detector it is, what it is worth, and every run that led to it."""
    record = mirror.records.get(row.key)
    assert record is not None
    parent = mirror.child(PAIR_TAG, record.pair.parent) if record.pair.parent else None
    tags = {
        KEY_TAG: row.key,
        WEIGHTS_TAG: record.files[WEIGHTS_FILE],
        FRAME_TAG: str(row.resolution),
        "jdn.search": mirror.run.settings.name,
        "jdn.search_id": mirror.search_id,
        "jdn.settings": mirror.run.settings.digest,
        "jdn.pair_index": str(row.index),
        "jdn.action": row.action,
        "jdn.parent_pair": "" if row.parent is None else str(row.parent),
        "jdn.search_run": mirror.id,
        "jdn.pair_run": run_id,
        "jdn.parent_run": parent.info.run_id if parent else "",
        "jdn.teacher": row.teacher,
        "jdn.ap": repr(row.ap),
        "jdn.macs": str(row.macs),
        "jdn.params": str(row.params),
        "jdn.score": "" if row.score is None else repr(row.score),
    }
    datasets = {f"jdn.dataset.{context}": " ".join(dataset) for context, dataset in mirror.datasets().items()}
    return {name: text for name, text in (tags | datasets).items() if text}


def _card(run: Run, folder: Path, row: Candidate, base: Candidate, *, model: str) -> str:
    """What people read of a version: base against student, how to use it, where it comes from."""
    spec = load_spec(folder)
    classes = ", ".join(name for _, name in spec.classes)
    parent = "" if row.parent is None else f", from pair {row.parent}"
    lines = [
        f"Object detector (Faster R-CNN with FPN), pair {row.index} of search {run.settings.name} "
        f"({action_text(row.action)}{parent}).",
        "",
        "| | base | this detector | |",
        "| --- | --- | --- | --- |",
        *_numbers(base, row),
        "",
        f"AP is COCO's, over IoU 0.50:0.95, on the search's validation data. Classes: {_cut(classes, 1500)}.",
        "",
        "```python",
        "import mlflow, pandas",
        f'detector = mlflow.pyfunc.load_model("models:/{model}@ALIAS")',
        'photos = pandas.DataFrame({"image": [open("photo.jpg", "rb").read()]})',
        'boxes = detector.predict(photos, params={"score": 0.5})',
        "```",
        "",
        "`boxes` is in COCO's results form; `image_id` is the row. `mlflow models serve` takes base64: "
        '`{"dataframe_split": {"columns": ["image"], "data": [["..."]]}, "params": {"score": 0.5}}`.',
        "",
        f"Weights: SHA-256 `{row.sha256}`. Settings: `{run.settings.digest}`. Teacher: {row.teacher}.",
    ]
    return "\n".join(lines)


def _numbers(base: Candidate, row: Candidate) -> list[str]:
    cells = [
        ("input", str(base.resolution), str(row.resolution), ""),
        ("AP (%)", texts.percent(base.ap), texts.percent(row.ap), _points(base.ap, row.ap)),
        ("computation", texts.macs(base.macs), texts.macs(row.macs), _share(base.macs, row.macs)),
        ("parameters", texts.params(base.params), texts.params(row.params), _share(base.params, row.params)),
        (
            "latency",
            texts.milliseconds(base.latency_ms),
            texts.milliseconds(row.latency_ms),
            _share(base.latency_ms, row.latency_ms),
        ),
        ("H", texts.score(base.score), texts.score(row.score), ""),
    ]
    return [f"| {' | '.join(line)} |" for line in cells]


def _points(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else texts.signed(100 * (after - before))


def _share(before: float | None, after: float | None) -> str:
    return "" if not before or after is None else texts.signed(100 * (after / before - 1), " %", digits=0)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
