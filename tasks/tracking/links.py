"""Where a search is seen in MLflow: its tracking URI, how to start its pages, and addresses inside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from jdn_core.errors import StorageError, hidden
from jdn_core.run.folder import Run
from jdn_core.storage import durable

LOCAL_UI = "http://127.0.0.1:5000"
LINKS_FILE = Path("work", "mlflow.json")
PARENT = "mlflow.parentRunId"


def tracking_uri(run: Run) -> str:
    """Where MLflow listens: the settings', else the environment's, else SQLite in the search's folder."""
    local = f"sqlite:///{run.folder.resolve() / 'mlflow.db'}"
    return run.settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or local


def ui_command(uri: str) -> str | None:
    """How to look at a local database in a browser, at ``LOCAL_UI``; None where a server answers already."""
    return None if urlsplit(uri).scheme in ("http", "https") else f"mlflow ui --backend-store-uri {uri}"


def pages(uri: str) -> str:
    """Where a reader's browser finds MLflow's pages: ``JDN_MLFLOW_PAGES``, else the server or ``LOCAL_UI``.

    The variable is for workers that know the server by a name of their own, such as that of a container.
    """
    return os.environ.get("JDN_MLFLOW_PAGES") or (LOCAL_UI if ui_command(uri) else shown(uri))


def database(uri: str) -> Path | None:
    """The file of an SQLite database; None for a server, or a database of another kind."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def shown(uri: str) -> str:
    """The URI without a password, for logs, files and terminals."""
    parts = urlsplit(uri)
    return uri if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def complaint(error: Exception) -> str:
    """What MLflow's client, a database or the network said, in a line; they repeat passwords of addresses."""
    return hidden(f"{type(error).__name__}: {error}".splitlines()[0])[:300]


class Links(NamedTuple):
    """Addresses of a search in MLflow's pages."""

    address: str
    experiment: str
    search_run: str

    @property
    def search(self) -> str:
        """The search's own run, with its settings, figures and report."""
        return self._page(f"runs/{self.search_run}")

    @property
    def view(self) -> str:
        """The key under which MLflow keeps how the pairs are shown."""
        return self.search_run[:8]

    @property
    def wanted(self) -> str:
        """What tells the pairs from all other runs, in MLflow's words."""
        return f"tags.`jdn.kind` = 'pair' and tags.`{PARENT}` = '{self.search_run}'"

    @property
    def pairs(self) -> str:
        """The pairs, best score first, in the columns of our saved view."""
        return self._page("runs", viewStateShareKey=self.view)

    @property
    def charts(self) -> str:
        """The same pairs as charts."""
        return f"{self.pairs}&compareRunsMode=CHART"

    @property
    def models(self) -> str:
        """The candidates as a table of models."""
        return self._page("models")

    def pair(self, key: str) -> str:
        """One pair."""
        return self._page("runs", searchFilter=f"tags.`jdn.pair_key` = '{key}'")

    def inside(self, page: str) -> str:
        """A page's address for links between MLflow's own pages, whatever the server is called there."""
        return page.removeprefix(self.address + "/")

    def _page(self, page: str, **query: str) -> str:
        """An address below the experiment's; without ``workflowType`` a chat application's menu is shown."""
        asked = urlencode({**query, "workflowType": "machine_learning"}, quote_via=quote)
        return f"{self.address}/#/experiments/{self.experiment}/{page}?{asked}"


def of(run: Run) -> Links | None:
    """Where a search is seen in MLflow; None until it was heard of there."""
    try:
        return Links(**durable.read_json(run.folder / LINKS_FILE))
    except (FileNotFoundError, StorageError, TypeError):
        return None


def where(run: Run) -> dict[str, str | None]:
    """How to look at a search in MLflow: the URI, a command to start its pages if need be, and addresses."""
    uri, seen = shown(tracking_uri(run)), of(run)
    addresses = {"search": seen.search, "pairs": seen.pairs, "charts": seen.charts} if seen else {}
    return {"uri": uri, "command": ui_command(uri), **addresses}
