"""A worker's exchange with MLflow for one pair; a server that is away for a while is asked again."""

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
    """Whether another try may end otherwise."""
    return isinstance(state.data, ServiceUnavailable)


def _patient(name: str) -> Callable[[Callable[P, T]], Task[P, T]]:
    """A task that is tried again for two minutes while the server is away."""
    return task(
        name=name,
        retries=len(_PAUSES),
        retry_delay_seconds=_PAUSES,
        retry_condition_fn=_is_away,
        cache_policy=NO_CACHE,
    )


@_patient("fetch search")
def fetch_head(search_run: str, uri: str, folder: Path) -> Path:
    """What says which search a run is: settings, identity and fingerprint, in ``folder``."""
    tracking.fetch_head(search_run, uri, folder)
    return folder


@_patient("fetch inputs")
def borrow_inputs(run: Run, search_run: str, pair: Pair, head: Path) -> None:
    """The pool, the base's record and the parent's, hash by hash."""
    tracking.borrow(run, search_run, pair, head)


@_patient("send record")
def give_back_record(run: Run, search_run: str, pair: Pair) -> None:
    """The pair's record and weights, where its search looks for them."""
    tracking.give_back(run, search_run, pair)
