"""What a worker elsewhere fetches from MLflow for one pair, and sends back; tried again in an outage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from jdn_core.errors import ServiceUnavailable
from jdn_core.run.folder import Run
from jdn_core.search.pairs import Pair
from tasks import tracking

P = ParamSpec("P")
T = TypeVar("T")
_PAUSES = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0]


def _is_away(task: Any, task_run: Any, state: State) -> bool:
    return isinstance(state.data, ServiceUnavailable)


def _retried(name: str) -> Callable[[Callable[P, T]], Task[P, T]]:
    """Makes a task that is tried again for two minutes while the server is away."""
    return task(
        name=name,
        retries=len(_PAUSES),
        retry_delay_seconds=_PAUSES,
        retry_condition_fn=_is_away,
        cache_policy=NO_CACHE,
    )


@_retried("fetch search")
def fetch_head(search_run: str, uri: str, folder: Path) -> Path:
    """Fetches settings, identity and fingerprint of a search into ``folder``."""
    tracking.fetch_head(search_run, uri, folder)
    return folder


@_retried("fetch inputs")
def fetch_inputs(run: Run, search_run: str, pair: Pair, head: Path) -> None:
    """Fetches the pool, the base's record and the parent's, hash by hash."""
    tracking.fetch_inputs(run, search_run, pair, head)


@_retried("send record")
def send_record(run: Run, search_run: str, pair: Pair) -> None:
    """Sends the pair's record and weights to where its search fetches them."""
    tracking.send_pair(run, search_run, pair.key)
