"""What MLflow's pages show of a search before anybody has clicked: columns, order, charts and notes.

Plain values, as its UI (3.17) reads them from tags: saved views are tags of the experiment, notes markdown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from tasks.tracking.links import Links

NOTE = "mlflow.note.content"
_SAVED_VIEW = "mlflow.sharedViewState."
_HEAD = "JDN search ["  # a note of the experiment that begins otherwise is somebody's own
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
    """The run in Prefect that drives a search: its id, and its page where a server has one."""

    id: str
    page: str | None


def saved_view(search: str, place: Links, *, when: int) -> tuple[str, str]:
    """The tag of the experiment by which ``Links.pairs`` and ``charts`` open as the table of candidates.

    Args:
        search: its name.
        place: of the search.
        when: ms since the epoch at which the view was made, as the list of saved views shows it.
    """
    state = {
        "searchFilter": place.wanted,
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
    name = f"Candidates of {search} ({place.view})"
    view = {"name": name, "createdAt": when, "updatedAt": when, "state": json.dumps(state)}
    return _SAVED_VIEW + place.view, json.dumps(view)


def search_note(place: Links, flow_run: FlowRun | None) -> str:
    """What the page of a search's run says first: where its candidates are, and who drives it."""
    lines = [f"- {_ways(place)}"]
    if flow_run is not None:
        name = f"`{flow_run.id}`"
        lines.append(f"- driven by {f'[{name}]({flow_run.page})' if flow_run.page else name} in Prefect")
    return "\n".join(lines)


def experiment_note(before: str, places: Iterable[tuple[str, Links]]) -> str | None:
    """What the experiment's page says first: its searches, newest first; None leaves the note as it is.

    Args:
        before: the note that is there.
        places: name and place of each search.
    """
    if before and not before.startswith(_HEAD):
        return None
    lines = [
        f"{_HEAD}{name} ({each.view})]({each.inside(each.search)}): {_ways(each)}" for name, each in places
    ]
    note = "\n\n".join(lines)  # a page shows the first line until it is opened
    return None if note == before else note


def _ways(place: Links) -> str:
    """Within MLflow's pages, so that they lead on whatever the server is called where they are read."""
    ways = {"candidates": place.pairs, "charts": place.charts, "models": place.models}
    return ", ".join(f"[{name}]({place.inside(page)})" for name, page in ways.items())


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
