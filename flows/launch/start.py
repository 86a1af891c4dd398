"""Starts a flow in a folder of its own, or goes on in one, for command line, forms and tests alike."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from flows.console import say, showing_progress
from flows.inputs import settings_file
from flows.inputs.folders import is_search, writable
from flows.inputs.settings_file import Override, is_ours, read_back
from flows.launch.endings import explained, logged
from flows.launch.trained import refuse_second, take_stage
from flows.servers.tracker import trouble
from jdn_core.errors import (
    CheckpointError,
    DataError,
    FingerprintError,
    InputMissing,
    Problem,
    SettingsError,
    UsageError,
)
from jdn_core.run.file_names import FINGERPRINT_FILE, SETTINGS_FILE
from jdn_core.settings.whole import Settings, parse
from jdn_core.storage import durable

# A flow, or what is in one for a flow run that is under way. The command line's import Prefect when they are
# called, not before: that takes seconds, and so does its embedded server, while most refusals take none.
Flow = Callable[[Settings, Path], dict[str, Any]]
logger = logging.getLogger(__name__)
_RESULTS = ("base", "pool", "pairs", "report", "mlflow.db", "mlartifacts")


def start(
    flow: Flow,
    settings: Settings,
    out: Path,
    *,
    stages: Mapping[str, Path] | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """Runs a flow in a new folder.

    Args:
        flow: called with settings and folder.
        settings: of the run; they are written into the folder first.
        out: the folder.
        stages: trained stages to take over, ``base`` and ``pool``, from folders elsewhere.
        again: go on in a folder that holds a run already, as ``resume`` does.

    Raises:
        UsageError: the folder holds a run already, a stage that was to be taken over, or files of those names
            that no run wrote.
        StorageError: the folder cannot be written.
        OwnedByAnother: another process runs in it.
        CheckpointError, DataError, InputMissing, SettingsError: bad input; the folder is as it was before, so
            that the same command works once the input is mended.
    """
    out = writable(out)
    _refuse_foreign(out)
    begun = _is_begun(out)
    if begun and not again:
        raise UsageError(
            f"{out} holds a search already; continue it with `jdn resume {out}`, or choose another --out"
        )
    for stage in stages or ():
        refuse_second(stage, out)
    if begun:
        return resume(flow, settings, out)
    try:
        for stage, source in (stages or {}).items():
            take_stage(source, stage, out, uri=settings.tracking.uri)
        return _run(flow, settings.with_lookback(), out, is_new=True)
    except (CheckpointError, DataError, InputMissing, SettingsError):
        _clear(out, taken=stages or ())
        raise


def resume(flow: Flow, settings: Settings, out: Path) -> dict[str, Any]:
    """Goes on in a folder that holds a run, under settings that may differ in devices and iterations.

    Raises:
        FingerprintError: they differ in something that results depend on.
        StorageError, OwnedByAnother: as ``start`` does.
    """
    out = writable(out)
    _is_begun(out)
    refuse_changes(out, settings)
    return _run(flow, settings.with_lookback(), out, is_new=False)


def refuse_changes(folder: Path, settings: Settings) -> None:
    """Lets through what may change between a start and a resume, such as devices and more iterations.

    What the folder keeps is parsed only where its text and its digest have changed.

    Raises:
        FingerprintError: anything else changed, old -> new, a line each.
    """
    if settings_file.dump(settings.with_lookback()).encode() == (folder / SETTINGS_FILE).read_bytes():
        return
    kept = folder / FINGERPRINT_FILE
    if kept.is_file() and durable.read_json(kept).get("settings") == settings.digest:
        return
    old = read_back(folder)
    if old.digest == settings.digest:
        return
    before, after = flat(old.model_dump(mode="json")), flat(settings.model_dump(mode="json"))
    raise FingerprintError.of(
        [
            Problem(
                SETTINGS_FILE, key, f"must stay {before.get(key)!r}, as when the search began", repr(value)
            )
            for key, value in after.items()
            if before.get(key) != value and _matters(old, key, value)
        ]
    )


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as ``search.top_k`` -> 5; a list is one value."""
    if not isinstance(data, dict):
        return {prefix: data}
    found: dict[str, Any] = {}
    for name, inner in data.items():
        found |= flat(inner, f"{prefix}.{name}".strip("."))
    return found


def _is_begun(out: Path) -> bool:
    """Checks whether a folder holds a run; the second of two processes ends here, before Prefect starts."""
    with durable.own(out):
        return is_search(out)


def _refuse_foreign(out: Path) -> None:
    """Raises UsageError where a run would write over files that no run of ours put there."""
    if is_search(out):
        if not is_ours(out / SETTINGS_FILE):
            what = "is a settings file of your own, and a run writes its settings there"
            raise UsageError(f"{out / SETTINGS_FILE}: {what}; choose another --out")
    elif taken := [name for name in _RESULTS if (out / name).exists()]:
        raise UsageError(f"{out} holds {', '.join(taken)}, which a run writes; choose another --out")


def _run(flow: Flow, settings: Settings, out: Path, *, is_new: bool) -> dict[str, Any]:
    durable.write_bytes(out / SETTINGS_FILE, settings_file.dump(settings).encode())
    with logged(out), explained(out), showing_progress():
        _look_for_mlflow(settings, out)
        if is_new:
            _check_inputs(settings, out)
        return flow(settings, out)


def _look_for_mlflow(settings: Settings, out: Path) -> None:
    """Says within seconds what will keep the run from MLflow; its own client may take minutes to notice."""
    if found := trouble(settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI", "")):
        later = f"the run goes on without it, and `jdn sync {out}` sends it later"
        logger.warning("MLflow: %s; %s; %s", found.what, found.remedy, later)


def _check_inputs(settings: Settings, out: Path) -> None:
    """Refuses bad input in the 3 s that torch takes to import, not after the 13 s of Prefect's server."""
    from jdn_core.run.checks import check_inputs
    from jdn_core.run.datasets import described

    check_inputs(settings, out)
    for line in described(settings.data):
        logger.warning(line) if line.startswith("WARNING") else say(line)


def _matters(old: Settings, key: str, value: Any) -> bool:
    """Checks whether this change alone makes another search."""
    data = old.model_dump(mode="json")
    settings_file.put(data, Override(SETTINGS_FILE, key, value))
    try:
        return parse(data).digest != old.digest
    except SettingsError:
        return True


def _clear(out: Path, *, taken: Collection[str]) -> None:
    """Removes a run that finished no stage, so that its folder is not taken for a search over other data."""
    if not any((out / stage).exists() for stage in {"base", "pool", "pairs"} - {*taken}):
        for stage in taken:
            shutil.rmtree(out / stage, ignore_errors=True)
        for name in (SETTINGS_FILE, FINGERPRINT_FILE, durable.LOCK_FILE):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "work", ignore_errors=True)
        with contextlib.suppress(OSError):
            out.rmdir()
