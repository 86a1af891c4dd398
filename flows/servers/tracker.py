"""Whether MLflow can take a run where its URI says: what `jdn doctor` finds and a run says at its start.

The import inside a function keeps refusals quick: that package imports torch.
"""

from __future__ import annotations

import os
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from flows.servers.health import health
from jdn_core.errors import ServiceUnavailable, hidden

SECONDS = 3.0  # until a server is taken to be gone
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class Trouble(NamedTuple):
    """What keeps runs from MLflow, and what to do."""

    what: str
    remedy: str


def trouble(uri: str) -> Trouble | None:
    """Looks for what keeps runs from MLflow, in seconds; None where nothing is found.

    Args:
        uri: of a server, a database, or what else a user may have written there; may be empty, for none.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if not uri:
        return None
    if scheme in ("http", "https"):
        return _server(uri)
    if scheme == "sqlite":
        return _sqlite(uri)
    if scheme in _PORTS:
        return _database(uri, _PORTS[scheme])
    if scheme in ("", "file") and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("1", "true"):
        what = f"{uri}: is a store of plain files, which MLflow 3.17 refuses"
        return Trouble(what, "use sqlite:///FILE, or unset MLFLOW_TRACKING_URI")
    return None


def _server(uri: str) -> Trouble | None:
    address = f"{uri.rstrip('/')}/health"
    try:
        health(address, seconds=SECONDS)
    except ServiceUnavailable as error:
        shown = address.rpartition("@")[2]  # a password may stand in front of the host
        return Trouble(f"{shown}: {error}", "start it, or unset MLFLOW_TRACKING_URI")
    return None


def _sqlite(uri: str) -> Trouble | None:
    from tasks.tracking.pages import database

    if (file := database(uri)) is None:  # in memory
        return None
    place = file if file.exists() else file.absolute().parent
    if os.access(place, os.W_OK):
        return None
    return Trouble(f"{place}: cannot be written", "name a database in another folder")


def _database(uri: str, port: int) -> Trouble | None:
    parts = urlsplit(uri)
    try:
        address = (parts.hostname or "localhost", parts.port or port)
        with socket.create_connection(address, timeout=SECONDS):
            return None
    except (OSError, ValueError) as error:
        return Trouble(f"{hidden(uri)}: {error}", "start the database, or unset MLFLOW_TRACKING_URI")
