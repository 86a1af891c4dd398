"""The report of a search and its figures."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from jdn_core.run import report
from jdn_core.run.folder import Run
from jdn_core.search.standing import Standing
from tasks.orchestration.artifacts import show_result
from tasks.tracking import pages


@task(name="write report", cache_policy=NO_CACHE)
def write_report(run: Run, standing: Standing) -> Path:
    """Writes ``report/index.html``, which stands by itself, and the figures; shows the result in Prefect."""
    show_result(run, standing)
    return report.write(run, standing, links=pages.titled(run), is_finished=True)


@task(name="draw figures", cache_policy=NO_CACHE)
def draw_figures(run: Run, standing: Standing) -> Path | None:
    """Writes the report so far, without pictures, after every tenth pair; MLflow takes it from the folder."""
    if len(standing) % run.settings.tracking.figures_every:
        return None
    return report.write(run, standing, links=pages.titled(run), is_finished=False)
