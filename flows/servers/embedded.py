"""Prefect's embedded server, and the variables that keep both servers quiet and quick to give up.

Imports are late for the start-up of ``jdn``.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from flows.console import say
from jdn_core.errors import StorageError

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


def require_home() -> None:
    """Raises StorageError where Prefect cannot write its folder, which it would try for five minutes.

    Looked at before anything imports Prefect. A server of its own needs the folder; one elsewhere does not.
    """
    if os.environ.get("PREFECT_API_URL"):
        return
    home = Path(os.path.expanduser(os.environ.get("PREFECT_HOME") or "~/.prefect"))
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return
    except OSError as error:
        what = f"Prefect's folder {home} cannot be written ({error.strerror})"
        raise StorageError(f"{what}; set HOME or PREFECT_HOME to a folder that can be written") from None


def before_prefect() -> None:
    """Prepares this process for a flow, before anything imports Prefect, which reads variables once.

    Raises:
        StorageError: Prefect's folder cannot be written.
    """
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    require_home()
    from jdn_core.processes.fork_server import prepare
    from jdn_core.run import STEPS

    prepare(STEPS)  # the workers' server imports torch while this process imports Prefect
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        say("starting Prefect's embedded server, about ten seconds ...")
