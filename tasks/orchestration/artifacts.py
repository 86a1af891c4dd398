"""Sends artifacts of the flow run at hand: the best pairs so far, progress, the model that was registered.

Outside a flow nothing is sent. A server that does not answer costs the artifact, never the search.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_progress_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.context import FlowRunContext

from jdn_core.reports import markdown, tables
from jdn_core.reports.contest import cautions
from jdn_core.run import result_rows
from jdn_core.run.folder import Run
from jdn_core.run.outcome import Outcome
from jdn_core.search.standing import Graded, Standing
from tasks.orchestration import flow_run
from tasks.tracking.pages import Links, links_of
from tasks.tracking.registry import Registered

TOP_K, PROGRESS, RESULT = "jdn-top-k", "jdn-progress", "jdn-result"
MODEL, MODEL_PAGE = "jdn-model", "jdn-model-page"

logger = logging.getLogger(__name__)


def show_best(run: Run, standing: Standing, best: Sequence[Graded]) -> None:
    """Shows the table of the best pairs and how far the search is."""
    text, (progress, caption) = best_text(run, standing, best), progress_of(run, standing)
    title = text.partition("\n")[0]

    def send() -> None:
        with get_client(sync_client=True) as client:
            if not _updated(client, TOP_K, text, title):
                create_markdown_artifact(text, key=TOP_K, description=title)
            if not _updated(client, PROGRESS, progress, caption):
                create_progress_artifact(progress, key=PROGRESS, description=caption)

    _send(send, "the top-k")


def show_result(run: Run, standing: Standing) -> None:
    """Shows base, controls and winner, held-out numbers first, and which of them is the result."""
    outcome = Outcome(run, standing)
    lines, found = result_rows.lines(outcome), outcome.held_out
    text = markdown.contest(lines, found, cautions(found))
    title = text.partition("\n")[0]

    def send() -> None:
        create_markdown_artifact(text, key=RESULT, description=title)

    _send(send, "the result")


def show_model(registered: Registered) -> None:
    """Shows which version a pair became, with a link to its page."""
    version = f"{registered.model} version {registered.version}"
    what = "the search's result" if registered.pair is None else f"pair {registered.pair}"
    lines = [
        f"[{version}]({registered.page}), alias `{registered.alias}`: {what}.",
        "",
        f"`mlflow.pyfunc.load_model({registered.uri!r})`",
        "",
        f"SHA-256 of the weights: `{registered.sha256}`",
    ]

    def send() -> None:
        create_link_artifact(registered.page, link_text=version, key=MODEL_PAGE, description=registered.uri)
        create_markdown_artifact("\n".join(lines), key=MODEL, description=version)

    _send(send, "the model")


def best_text(run: Run, standing: Standing, best: Sequence[Graded]) -> str:
    """Returns the table of the best pairs as markdown, with links into MLflow where the search has any."""
    links = links_of(run)
    base = tables.base_row(standing, folder=run.folder)
    rows = [tables.row(graded, standing, run.folder) for graded in best]
    table = markdown.best_pairs(base, rows, page=links.pair if links else None)
    return "\n".join([table, "", _link("All pairs", links, "pairs"), ""])


def progress_of(run: Run, standing: Standing) -> tuple[float, str]:
    """Returns how far a search is, in percent, and a line about it."""
    iterations, done = run.settings.search.iterations, standing.newest(1)[0].pair.index
    caption = f"{done} of {iterations} pairs of {run.settings.name}."
    return min(100.0, 100.0 * done / iterations), f"{caption} {_link('Charts', links_of(run), 'charts')}"


def _link(title: str, links: Links | None, page: str) -> str:
    return f"[{title} in MLflow]({getattr(links, page)})" if links else "It is not in MLflow yet."


def _send(send: Callable[[], None], what: str) -> None:
    if not FlowRunContext.get():
        return
    if not flow_run.server_answers():  # Prefect's client would try for a minute
        logger.warning("Prefect was not shown %s: its server does not answer", what)
        return
    try:
        send()
    except Exception as error:  # any of the HTTP client's, Prefect's own, or a time-out
        logger.warning("Prefect was not shown %s: %s", what, error)


def _updated(client: SyncPrefectClient, key: str, data: Any, description: str) -> bool:
    """Returns whether the flow run had such an artifact, which shows this now; one a pair would pile up."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return False
    mine = ArtifactFilter(
        key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[context.flow_run.id])
    )
    found = client.read_artifacts(artifact_filter=mine)
    if found:
        client.update_artifact(found[0].id, ArtifactUpdate(data=data, description=description))
    return bool(found)
