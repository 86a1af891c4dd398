"""The base detector by itself, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.launch.opening import hired, opened
from jdn_core.run.report import base_summary
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import Settings
from tasks import base
from tasks.data import check_data
from tasks.orchestration import flow_run
from tasks.tracking import Publisher


@flow(name="train-base", validate_parameters=False)
def train_base(settings: Settings, out: Path) -> dict[str, Any]:
    """Trains a base into ``out/base`` and measures it at every resolution."""
    with (
        opened(settings, out) as run,
        Publisher(run, flow_run=flow_run.current()) as publisher,
        hired(settings) as workers,
    ):
        check_data(run)
        base.train_base(run, workers)
        record = base.evaluate_base(run, workers)
        standing = Standing(settings.score, [record])
        publisher.follow(standing)
        return base_summary(run, standing)
