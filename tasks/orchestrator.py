"""What Prefect's server says of the flow at hand: whether it is there, and whether someone paused it."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.utilities.urls import url_for

from jdn_core.errors import ServiceUnavailable
from jdn_core.processes import progress, stopping
from tasks.tracking.links import shown
from tasks.tracking.views import FlowRun

_TIMEOUT = 3.0

logger = logging.getLogger(__name__)


def require(patience: float) -> None:
    """Returns once the server of the flow at hand answers and the flow is not paused; outside a flow at once.

    Raises:
        ServiceUnavailable: it did not, for ``patience`` seconds; a restarted one needs ten to twenty.
        Stopped: the flow was cancelled from the dashboard.
    """
    begun = time.monotonic()
    for pause in _pauses():
        if answers():
            _obey()
            return
        if time.monotonic() - begun + pause > patience:
            raise ServiceUnavailable(
                f"Prefect's server does not answer at {_address()}, for {patience:.0f} s; "
                "start it again and resume the search"
            )
        logger.warning("Prefect's server does not answer; asking again in %d s", pause)
        time.sleep(pause)


def _obey(pause: float = 2.0) -> None:
    """Returns at once unless the flow was paused from the dashboard; then once it goes on there.

    Raises:
        Stopped: it was cancelled meanwhile, or this process shall end.
    """
    is_told = False
    while (state := _state()) is not None and state.type is StateType.PAUSED:
        if not is_told:
            progress.report("paused", 0, 1, "Resume in Prefect's dashboard goes on")
            is_told = True
        stopping.check()
        time.sleep(pause)
    if is_told:
        progress.report("paused", 1, 1)
    if _is_cancelled(state):
        raise stopping.Stopped(signal.SIGTERM)


def is_cancelled() -> bool:
    """Whether somebody asked Prefect to end the flow at hand."""
    return _is_cancelled(_state())


def _is_cancelled(state: State | None) -> bool:
    return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)


def _state() -> State | None:
    """Of the flow at hand, as its server has it; none outside a flow, or where the server does not answer."""
    import httpx

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    try:
        with get_client({"timeout": _TIMEOUT}, sync_client=True) as client:
            return client.read_flow_run(context.flow_run.id).state
    except (httpx.HTTPError, ObjectNotFound):
        return None


def flow_run() -> FlowRun | None:
    """The flow at hand, for links to it from elsewhere; none outside a flow."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    page = url_for("flow-run", obj_id=context.flow_run.id)
    return FlowRun(str(context.flow_run.id), shown(page) if page else None)


def answers() -> bool:
    """Whether the server says anything, within a few seconds; true outside a flow, where none is asked."""
    import httpx

    address = _address()
    if address is None:
        return True
    try:
        httpx.get(f"{address}/health", timeout=_TIMEOUT)
    except httpx.TransportError:
        return False
    return True


def _address() -> str | None:
    context = FlowRunContext.get()
    return str(context.client.api_url) if context and hasattr(context.client, "api_url") else None


def _pauses() -> Iterator[float]:
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, 15.0)
