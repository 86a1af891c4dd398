"""From what was typed to a flow in a folder: choose settings, open the folder, tell how it ended."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.console import progress_printer, say
from flows.inputs import settings_file
from flows.inputs.folders import absolute, writable
from flows.inputs.settings_file import Override, read_back
from flows.launch.trained import refuse_second, take_stage
from jdn_core.errors import (
    CheckpointError,
    DataError,
    FingerprintError,
    InputMissing,
    Problem,
    ServiceUnavailable,
    SettingsError,
    UsageError,
    UserError,
)
from jdn_core.processes import devices
from jdn_core.processes.fork_server import prepare
from jdn_core.processes.progress import listening
from jdn_core.processes.stopping import Stopped
from jdn_core.run import STEPS
from jdn_core.run.file_names import FINGERPRINT_FILE, SETTINGS_FILE
from jdn_core.settings.whole import Settings, parse
from jdn_core.storage import durable

Body = Callable[[Settings, Path], dict[str, Any]]
LOG_FILE = "jdn.log"
NO_PREFECT = ("Failed to reach API at", "ephemeral Prefect API server")  # it raises RuntimeError for both
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "jdn_core,tasks,flows",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # 13 s, but minutes on a busy machine
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # its server keeps the log; terminals show progress
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # an unreachable server is noticed after 4 s, not 246
}


def choose(
    source: str,
    *,
    sets: Sequence[str] | None = None,
    data: Path | None = None,
    drop_bad_boxes: bool = False,
    **tops: str | int | None,
) -> Settings:
    """The settings of a run: a file or preset with the command line's values on top.

    Args:
        source: settings file, or name of a preset.
        sets: texts of ``--set``.
        data: dataset folder; kept as an absolute path, so that a resume works from anywhere.
        drop_bad_boxes: of the option of that name.
        tops: ``name``, ``device``, ``threads``, ``workers``; None leaves the file's value.
    """
    keys = {"workers": "search.workers"}
    overrides = settings_file.read_set(sets or ())
    overrides += [
        Override(f"--{name}", keys.get(name, name), value)
        for name, value in tops.items()
        if value is not None
    ]
    if data is not None:
        overrides.append(Override("--data", "data.root", str(data)))
    if drop_bad_boxes:
        overrides.append(Override("--drop-bad-boxes", "data.drop_bad_boxes", True))
    return suited(settings_file.load(source, overrides), source, overrides)


def suited(settings: Settings, source: str, overrides: Sequence[Override] = ()) -> Settings:
    """Settings that this machine can follow, with absolute paths.

    Args:
        settings: as they were asked for.
        source: what they came from, for messages.
        overrides: values that the command line put on top.

    Raises:
        SettingsError: they ask for what is not here.
        UsageError: they name no dataset.
        InputMissing: dataset or checkpoint are not where they say.
    """
    _check_machine(settings, source, overrides)
    if settings.data.root is None:
        raise UsageError("no dataset: give --data DIR, or data.root in the settings")
    root = absolute(settings.data.root)
    if not root.is_dir():
        raise InputMissing(f"{root}: no such dataset folder")
    found: dict[str, Any] = {"data": settings.data.model_copy(update={"root": root})}
    if (file := settings.detector.pretrained) is not None:
        if not (file := absolute(file)).is_file():
            raise InputMissing(f"{file}: no such file; detector.pretrained names a checkpoint")
        found["detector"] = settings.detector.model_copy(update={"pretrained": file})
    return settings.model_copy(update=found)


def run(
    flow: str, settings: Settings, out: Path, *, again: bool = False, stages: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Runs the flow of that name in ``out``, a folder of its own; ``run_body`` says more.

    Args:
        flow: ``upgrade``, ``search``, ``train_base`` or ``train_pool``: module and function of ``flows``.
        settings: of the run.
        out: the folder.
        again: go on in a folder that holds a run already, if its settings are equal.
        stages: trained stages to take over, ``base`` and ``pool``, from folders elsewhere.
    """
    return run_body(lambda *given: _flow(flow)(*given), settings, out, again=again, stages=stages)


def run_body(
    body: Body,
    settings: Settings,
    out: Path,
    *,
    again: bool = False,
    stages: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """What a flow does, in a folder of its own that says how it began, how it went and how it ended.

    Args:
        body: a flow, or what is in one, for a flow run that is under way; called with settings and folder.
        settings: of the run; they are written into the folder first.
        out: the folder.
        again: go on in a folder that holds a run already, if its settings are equal.
        stages: trained stages to take over, ``base`` and ``pool``, from folders elsewhere.

    Raises:
        UsageError: the folder holds a run already.
        FingerprintError: it was begun with other settings.
        StorageError: the folder cannot be written.
        OwnedByAnother: another process runs in it.
    """
    out = writable(out)
    with durable.own(out):  # the second of two hears it now, not after Prefect has started
        begun = (out / SETTINGS_FILE).exists()
    if begun and not again:
        raise UsageError(
            f"{out} holds a search already; continue it with `jdn resume {out}`, or choose another --out"
        )
    if begun:
        refuse_changes(read_back(out), settings)
    settings = settings.with_lookback()
    for stage in stages or ():
        refuse_second(stage, out)
    try:
        for stage, source in (stages or {}).items():
            take_stage(source, stage, out, uri=settings.tracking.uri)
        durable.write_bytes(out / SETTINGS_FILE, settings_file.dump(settings).encode())
        with _logged(out), _told(out), progress_printer() as listener, listening(listener):
            if not begun:
                _check_inputs(settings, out)
            return body(settings, out)
    except (CheckpointError, DataError, InputMissing, SettingsError):
        if not begun:  # nothing was trained: mended, the same command works again
            _clear(out, taken=stages or ())
        raise


def refuse_changes(old: Settings, new: Settings) -> None:
    """Lets through what may change between a start and a resume, such as devices and more iterations.

    Raises:
        FingerprintError: anything else, old -> new, a line each.
    """
    if old.digest == new.digest:
        return
    before, after = flat(old.model_dump(mode="json")), flat(new.model_dump(mode="json"))
    raise FingerprintError.of(
        [
            Problem(
                SETTINGS_FILE, key, f"must stay {before.get(key)!r}, as when the search began", repr(value)
            )
            for key, value in after.items()
            if before.get(key) != value and _matters(old, key, value)
        ]
    )


def _matters(old: Settings, key: str, value: Any) -> bool:
    """Whether this change alone makes another search."""
    data = old.model_dump(mode="json")
    settings_file.put(data, Override(SETTINGS_FILE, key, value))
    try:
        return parse(data).digest != old.digest
    except SettingsError:
        return True


def _check_machine(settings: Settings, source: str, overrides: Sequence[Override]) -> None:
    """Refuses what the settings may ask for, but not here."""
    if found := devices.problem(settings.device, source=source):
        raise SettingsError.of([settings_file.sourced(found, overrides)])


def _check_inputs(settings: Settings, out: Path) -> None:
    """Refuses bad input in the seconds that torch takes, not after those of Prefect's server."""
    from jdn_core.run.checks import check_inputs

    check_inputs(settings, out)


def _flow(name: str) -> Any:
    """Imports late and quietly, and says what takes its time."""
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    prepare(STEPS)  # the workers' server imports torch while this process imports Prefect
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        say("starting Prefect's embedded server, about ten seconds ...")
    return getattr(importlib.import_module(f"flows.{name}"), name)


@contextlib.contextmanager
def _told(out: Path) -> Iterator[None]:
    """Says how to go on after a stop, and where the log of an unexpected end is."""
    try:
        yield
    except Stopped:
        say(f"stopped; `jdn resume {out}` goes on")
        raise
    except UserError:
        raise
    except Exception as error:
        if any(words in str(error) for words in NO_PREFECT) or _is_connection_lost(error):
            what = "start it or unset PREFECT_API_URL; `jdn doctor` says what answers"
            raise ServiceUnavailable(f"Prefect's server does not answer: {error}; {what}") from error
        logging.getLogger("flows").exception("the run ended unexpectedly")
        say(f"the log is {out / LOG_FILE}; `jdn resume {out}` goes on")
        raise


def _is_connection_lost(error: Exception) -> bool:
    """Whether Prefect's client gave up; MLflow's never reaches a run."""
    import httpx

    return isinstance(error, httpx.TransportError)


@contextlib.contextmanager
def _logged(out: Path) -> Iterator[None]:
    """Our own loggers write into the run's folder, beside what Prefect's server hears."""
    handler = logging.FileHandler(out / LOG_FILE, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("jdn_core", "tasks", "flows")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def _clear(out: Path, *, taken: Collection[str]) -> None:
    """Forgets a run that finished no stage, so that its folder is not taken for a search over other data."""
    if not any((out / stage).exists() for stage in {"base", "pool", "pairs"} - {*taken}):
        for stage in taken:
            shutil.rmtree(out / stage, ignore_errors=True)
        for name in (SETTINGS_FILE, FINGERPRINT_FILE, durable.LOCK_FILE):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "work", ignore_errors=True)
        with contextlib.suppress(OSError):
            out.rmdir()


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``search.top_k`` -> 5; a list is one value."""
    if not isinstance(data, dict):
        return {prefix: data}
    found: dict[str, Any] = {}
    for name, inner in data.items():
        found |= flat(inner, f"{prefix}.{name}".strip("."))
    return found
