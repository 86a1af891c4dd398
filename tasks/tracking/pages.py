"""Addresses of a search in MLflow, and what its pages show before the first click: columns, charts, notes.

A saved view is a tag of the experiment and a note is markdown, both as the UI of MLflow 3.17 reads them. No
request is sent from here.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit

from jdn_core.errors import StorageError
from jdn_core.run.folder import Run
from jdn_core.storage import durable

LOCAL_UI = "http://127.0.0.1:5000"
LINKS_FILE = Path("work", "mlflow.json")
LINKS_SCHEMA = 1
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
_SAVED_VIEW = "mlflow.sharedViewState."
_HEAD = "JDN search ["  # a note that begins otherwise was written by a person and is left alone
_COLUMNS = {  # -> width in pixels
    "metrics.`pair_index`": 90,
    "tags.`jdn.action`": 130,
    "metrics.`score`": 75,
    "metrics.`ap`": 75,
    "metrics.`gmacs`": 75,
    "metrics.`params_m`": 85,
    "metrics.`latency_ms`": 90,
    "tags.`jdn.status`": 90,
    "tags.`jdn.parent_pair`": 120,
    "attributes.`Models`": 120,
    "attributes.`Dataset`": 160,
}
_CHARTS = (
    ("AP against GMACs", "gmacs", "ap"),
    ("Score over pairs", "pair_index", "score"),
    ("AP against latency", "latency_ms", "ap"),
    ("AP against parameters", "params_m", "ap"),
)
_OURS, _MODEL, _SYSTEM = "jdn", "jdn-model", "jdn-system"


class FlowRun(NamedTuple):
    """A flow run in Prefect that runs a search: its id, and its page where a server has one."""

    id: str
    page: str | None


class Links(NamedTuple):
    """Addresses of one search in MLflow's pages."""

    address: str
    experiment: str
    search_run: str

    @property
    def search(self) -> str:
        """Leads to the search's own run, with its settings, figures and report."""
        return self._page(f"runs/{self.search_run}")

    @property
    def view(self) -> str:
        """Names the saved view of the pairs."""
        return self.search_run[:8]

    @property
    def filter(self) -> str:
        """Selects the search's pairs among all runs, in MLflow's query language."""
        return f"tags.`jdn.kind` = 'pair' and tags.`{PARENT}` = '{self.search_run}'"

    @property
    def pairs(self) -> str:
        """Leads to the pairs, best score first, in the columns of the saved view."""
        return self._page("runs", viewStateShareKey=self.view)

    @property
    def charts(self) -> str:
        """Leads to the same pairs as charts."""
        return f"{self.pairs}&compareRunsMode=CHART"

    @property
    def models(self) -> str:
        """Leads to the candidates as a table of models."""
        return self._page("models")

    def pair(self, key: str) -> str:
        """Leads to one pair."""
        return self._page("runs", searchFilter=f"tags.`jdn.pair_key` = '{key}'")

    def inside(self, page: str) -> str:
        """Makes an address relative to MLflow's pages, so that it works under each name of the server."""
        return page.removeprefix(self.address + "/")

    def _page(self, page: str, **query: str) -> str:
        # Without workflowType the pages of MLflow 3 open with the menu of a chat application.
        full = urlencode({**query, "workflowType": "machine_learning"}, quote_via=quote)
        return f"{self.address}/#/experiments/{self.experiment}/{page}?{full}"


def tracking_uri(run: Run) -> str:
    """Returns the settings' URI, else the environment's, else that of SQLite in the search's folder."""
    return run.settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or local_uri(run.folder)


def local_uri(folder: Path) -> str:
    """Returns the URI of the database in a search's folder, which may have any name.

    SQLAlchemy cuts a plain path at its first ``?``, and takes it encoded in SQLite's own form.
    """
    file = str(folder.resolve() / "mlflow.db")
    return f"sqlite:///file:{quote(file)}?uri=true" if "?" in file else f"sqlite:///{file}"


def ui_command(uri: str) -> str | None:
    """Returns the command that shows a database at ``LOCAL_UI``; None for a server, which needs none."""
    if urlsplit(uri).scheme in ("http", "https"):
        return None
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


def address_of(uri: str) -> str:
    """Returns where a browser finds MLflow's pages: ``JDN_MLFLOW_PAGES``, else the server or ``LOCAL_UI``.

    The variable is for workers that reach the server under another name, such as that of a container.
    """
    return os.environ.get("JDN_MLFLOW_PAGES") or (LOCAL_UI if ui_command(uri) else shown(uri))


def database(uri: str) -> Path | None:
    """Returns the file of an SQLite database; None for a server, or a database of another kind."""
    if not uri.startswith("sqlite:///"):
        return None
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(unquote(path.removeprefix("file:")) if path.startswith("file:") else path)


def shown(uri: str) -> str:
    """Removes the password, for logs, files and terminals."""
    parts = urlsplit(uri)
    return uri if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def links_of(run: Run) -> Links | None:
    """Reads the links that a search's folder keeps; None before its run in MLflow is made."""
    try:
        return Links(**durable.read_json(run.folder / LINKS_FILE, schema=LINKS_SCHEMA))
    except (FileNotFoundError, StorageError, TypeError):
        return None


def keep_links(folder: Path, links: Links) -> None:
    """Writes the links into a search's folder."""
    (folder / LINKS_FILE).parent.mkdir(exist_ok=True)
    durable.write_json(folder / LINKS_FILE, links._asdict(), schema=LINKS_SCHEMA)


def where(run: Run) -> dict[str, str | None]:
    """Returns the URI, the command that starts the pages if one is needed, and addresses in them."""
    uri, links = shown(tracking_uri(run)), links_of(run)
    addresses = {"search": links.search, "pairs": links.pairs, "charts": links.charts} if links else {}
    return {"uri": uri, "command": ui_command(uri), **addresses}


def titled(run: Run) -> dict[str, str]:
    """Returns title -> address of a search's pages, for its report; nothing before its run is made."""
    links = links_of(run)
    if links is None:
        return {}
    return {"The search in MLflow": links.search, "pairs by score": links.pairs, "charts": links.charts}


def saved_view(search: str, links: Links, *, when: int) -> tuple[str, str]:
    """Returns the experiment's tag that opens ``Links.pairs`` and ``charts`` as the table of candidates.

    Args:
        search: its name.
        links: of the search.
        when: ms since the epoch at which the view was made, as the list of saved views shows it.
    """
    state = {
        "searchFilter": links.filter,
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [_scatter(position, *chart) for position, chart in enumerate(_CHARTS)],
        "compareRunSections": [
            _section(_OURS, "Search"),
            _section(_MODEL, "Model metrics", shown=False),
            _section(_SYSTEM, "System metrics", shown=False),
        ],
        "isAccordionReordered": True,
    }
    name = f"Candidates of {search} ({links.view})"
    view = {"name": name, "createdAt": when, "updatedAt": when, "state": json.dumps(state)}
    return _SAVED_VIEW + links.view, json.dumps(view)


def search_note(links: Links, flow_run: FlowRun | None) -> str:
    """Returns what the page of a search's run shows first: its candidates, and the flow run behind it."""
    lines = [f"- {_ways(links)}"]
    if flow_run is not None:
        name = f"`{flow_run.id}`"
        lines.append(f"- driven by {f'[{name}]({flow_run.page})' if flow_run.page else name} in Prefect")
    return "\n".join(lines)


def experiment_note(before: str, searches: Iterable[tuple[str, Links]]) -> str | None:
    """Returns what the experiment's page shows first, its searches, newest first; None where nothing changes.

    Args:
        before: the note that is there.
        searches: name and links of each.
    """
    if before and not before.startswith(_HEAD):
        return None
    lines = [
        f"{_HEAD}{name} ({links.view})]({links.inside(links.search)}): {_ways(links)}"
        for name, links in searches
    ]
    note = "\n\n".join(lines)  # the page shows the first paragraph until it is opened
    return None if note == before else note


def _ways(links: Links) -> str:
    ways = {"candidates": links.pairs, "charts": links.charts, "models": links.models}
    return ", ".join(f"[{name}]({links.inside(page)})" for name, page in ways.items())


def _scatter(position: int, title: str, across: str, up: str) -> dict[str, Any]:
    return {
        "uuid": f"jdn-{position}",
        "type": "SCATTER",
        "displayName": title,
        "xaxis": {"key": across, "type": "METRIC"},
        "yaxis": {"key": up, "type": "METRIC"},
        "runsCountToCompare": 100,
        "metricSectionId": _OURS,
        "deleted": False,
        "isGenerated": False,
    }


def _section(uuid: str, name: str, *, shown: bool = True) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": shown,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }
