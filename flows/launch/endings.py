"""How a run is followed and how it ended: its log file, and what to do after a stop or an error."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

from flows.console import say, showing_progress
from jdn_core.errors import ServiceUnavailable, UserError
from jdn_core.processes.stopping import Stopped

LOG_FILE = "jdn.log"
_LOGGERS = ("jdn_core", "tasks", "flows")
# Prefect raises RuntimeError for both, and nothing more particular.
_NO_PREFECT = ("Failed to reach API at", "ephemeral Prefect API server")


@contextlib.contextmanager
def logged(out: Path) -> Iterator[None]:
    """Copies the log of our own packages into the run's folder, and its warnings to the screen.

    Prefect's server gets it too.
    """
    handler = logging.FileHandler(out / LOG_FILE, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handlers = (handler, _Screen(logging.WARNING))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger, each in itertools.product(loggers, handlers):
        logger.addHandler(each)
    try:
        yield
    finally:
        for logger, each in itertools.product(loggers, handlers):
            logger.removeHandler(each)
        handler.close()


class _Screen(logging.Handler):
    """Prints warnings for people; errors end the command and are printed then."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            say(f"WARNING: {record.getMessage().removeprefix('WARNING: ')}")


@contextlib.contextmanager
def following(folder: Path) -> Iterator[None]:
    """Shows progress and copies the log into the folder, of what the same command goes on with."""
    with logged(folder), showing_progress():
        try:
            yield
        except Stopped:
            say("stopped; the same command goes on")
            raise


@contextlib.contextmanager
def explained(out: Path) -> Iterator[None]:
    """Prints how to go on after a stop, and where the log of an unexpected end is.

    Raises:
        ServiceUnavailable: in place of whatever Prefect raises where its server does not answer.
    """
    try:
        yield
    except Stopped:
        say(f"stopped; `jdn resume {out}` goes on")
        raise
    except UserError:
        raise
    except Exception as error:
        if any(words in str(error) for words in _NO_PREFECT) or _is_connection_lost(error):
            what = "start it or unset PREFECT_API_URL; `jdn doctor` says what answers"
            raise ServiceUnavailable(f"Prefect's server does not answer: {error}; {what}") from error
        logging.getLogger("flows").exception("the run ended unexpectedly")
        say(f"the log is {out / LOG_FILE}; `jdn resume {out}` goes on")
        raise


def _is_connection_lost(error: Exception) -> bool:
    """Checks whether Prefect's client gave up; errors of MLflow's are caught where it is asked."""
    import httpx

    return isinstance(error, httpx.TransportError)
