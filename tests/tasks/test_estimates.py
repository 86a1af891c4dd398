from __future__ import annotations

from pathlib import Path

from jdn_core.processes.devices import DeviceShare
from jdn_core.processes.workers import Workers
from jdn_core.run.folder import Run
from tasks.estimates import estimate
from tests.tiny_run import tiny_settings


def test_a_run_that_has_its_base_is_not_measured(tmp_path: Path) -> None:
    run = Run(tiny_settings(tmp_path), tmp_path)
    run.base.mkdir()
    with Workers([DeviceShare()]) as workers:
        assert estimate.fn(run, workers) is None
        assert workers.pids == ()
