"""What Prefect shows of a running search: the best pairs so far and how far it is, with links into MLflow."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_progress_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.context import FlowRunContext, TaskRunContext

from jdn_core.reports import texts
from jdn_core.reports.curves import action_text
from jdn_core.reports.tables import Candidate, base_row, candidates, ranked
from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord
from jdn_core.search.standing import Standing
from tasks import orchestrator
from tasks.tracking import links
from tasks.tracking.publishing import Published

TOP_K, PROGRESS = "jdn-top-k", "jdn-progress"
MODEL, MODEL_PAGE = "jdn-model", "jdn-model-page"
_HEADS = ("pair", "action", "H", "AP (%)", "computation", "parameters", "latency", "resolution")

logger = logging.getLogger(__name__)


def publish_top_k(run: Run, records: Sequence[PairRecord]) -> None:
    """Shows the table of the best pairs and the progress; outside a flow there is nobody to show them to.

    A server that does not answer costs the artifact, never the search.
    """
    if not (FlowRunContext.get() or TaskRunContext.get()):
        return
    if not orchestrator.answers():  # its client would try for a minute
        logger.warning("Prefect was not shown the top-k: its server does not answer")
        return
    done = max(record.pair.index for record in records)
    iterations = run.settings.search.iterations
    table = top_k_table(run, records)
    progress = min(100.0, 100.0 * done / iterations)
    told = f"{done} of {iterations} pairs of {run.settings.name}. {_see(run, 'charts')}"
    try:
        with get_client(sync_client=True) as client:
            if not _changed(client, TOP_K, table, table.partition("\n")[0]):
                create_markdown_artifact(table, key=TOP_K, description=table.partition("\n")[0])
            if not _changed(client, PROGRESS, progress, told):
                create_progress_artifact(progress, key=PROGRESS, description=told)
    except Exception as error:  # any of the HTTP client's, Prefect's own, or a time-out
        logger.warning("Prefect was not shown the top-k: %s", error)


def _changed(client: SyncPrefectClient, key: str, data: Any, description: str) -> bool:
    """Whether the flow run had such an artifact, which now shows this; two for each pair would be a heap."""
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


def show_model(published: Published) -> None:
    """Shows which version a pair became, with a link to its page; outside a flow to nobody.

    A server that does not answer costs the artifacts alone.
    """
    if not FlowRunContext.get() or not orchestrator.answers():
        return
    version = f"{published.model} version {published.version}"
    lines = [
        f"[{version}]({published.page}), alias `{published.alias}`: pair {published.pair}.",
        "",
        f"`mlflow.pyfunc.load_model({published.uri!r})`",
        "",
        f"SHA-256 of the weights: `{published.sha256}`",
    ]
    try:
        create_link_artifact(published.page, link_text=version, key=MODEL_PAGE, description=published.uri)
        create_markdown_artifact("\n".join(lines), key=MODEL, description=version)
    except Exception as error:  # any of the HTTP client's, Prefect's own, or a time-out
        logger.warning("Prefect was not shown the model: %s", error)


def top_k_table(run: Run, records: Sequence[PairRecord]) -> str:
    """Markdown: a line with base against best, then the best pairs, each with its link into MLflow."""
    standing = Standing(run.settings.score, records)
    best = ranked(candidates(standing, folder=run.folder), top=run.settings.search.top_k)
    base = base_row(standing, folder=run.folder)
    lines = [_against(base, best[0]), "", _line(_HEADS), _line(["---"] * len(_HEADS))]
    lines += [_line(_cells(run, row)) for row in best]
    return "\n".join([*lines, "", _see(run, "pairs"), ""])


def _against(base: Candidate, best: Candidate) -> str:
    then = f"base AP {texts.percent(base.ap)} % at {texts.macs(base.macs)}"
    now = f"best AP {texts.percent(best.ap)} % at {texts.macs(best.macs)}"
    return f"{then}; {now}, H {texts.score(base.score)} -> {texts.score(best.score)} (pair {best.index})"


def _cells(run: Run, row: Candidate) -> list[str]:
    seen = links.of(run)
    pair = f"[{row.index}]({seen.pair(row.key)})" if seen else str(row.index)
    numbers = [texts.score(row.score), texts.percent(row.ap), texts.macs(row.macs), texts.params(row.params)]
    return [
        pair,
        action_text(row.action),
        *numbers,
        texts.milliseconds(row.latency_ms),
        row.resolution or texts.DASH,
    ]


def _see(run: Run, page: str) -> str:
    seen = links.of(run)
    what = "All pairs" if page == "pairs" else "Charts"
    return f"[{what} in MLflow]({getattr(seen, page)})" if seen else "MLflow has not heard of it yet."


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
