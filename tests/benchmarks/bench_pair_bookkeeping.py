"""What follows a record in a search of 10,000 pairs: rank, table, what is sent, what is dropped."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jdn_core.detector.folder import WEIGHTS_FILE
from jdn_core.run.checks import refuse_failures
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import parse
from tasks.orchestration import artifacts
from tasks.tracking.dropping import Dropping
from tasks.tracking.search_run import SearchRun
from tasks.tracking.sending import Outbox, Publisher
from tasks.tracking.server import Experiment
from tests.benchmarks import long_search
from tests.benchmarks.conftest import Note

TURNS = 5


class SilentServer:
    """Takes the place of MLflow's client: it has no runs and takes everything, in no time."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given, **named: None

    def create_run(self, experiment: str, *given: Any, **named: Any) -> SimpleNamespace:
        info = SimpleNamespace(run_id="0", experiment_id=experiment)
        return SimpleNamespace(info=info, data=SimpleNamespace(params={}, tags={}), outputs=None)
