"""The flow run at hand, as Prefect's server has it: whether the server answers, a pause, a cancellation."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.utilities.urls import url_for

from jdn_core.errors import ServiceUnavailable
from jdn_core.processes import progress, stopping
from tasks.tracking.pages import FlowRun, shown

_TIMEOUT = 3.0

logger = logging.getLogger(__name__)


def current() -> FlowRun | None:
    """Returns the flow run at hand, for links to it from elsewhere; None outside a flow."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    page = url_for("flow-run", obj_id=context.flow_run.id)
    return FlowRun(str(context.flow_run.id), shown(page) if page else None)


def await_server(patience: float) -> None:
    """Waits until the server answers and the flow run is not paused; outside a flow not at all.

    Raises:
        ServiceUnavailable: it did not answer for ``patience`` seconds; a restart takes ten to twenty.
        Stopped: the flow run was cancelled in the dashboard.
    """
    begun = time.monotonic()
    for pause in _pauses():
        if server_answers():
            _await_unpaused()
            return
        if time.monotonic() - begun + pause > patience:
            raise ServiceUnavailable(
                f"Prefect's server does not answer at {_address()}, for {patience:.0f} s; "
                "start it again and resume the search"
            )
        logger.warning("Prefect's server does not answer; asking again in %d s", pause)
        time.sleep(pause)


def is_cancelled() -> bool:
    """Returns whether somebody asked Prefect to end the flow run."""
    return _is_cancelled(_state())


def server_answers() -> bool:
    """Returns whether the server answers within a few seconds; true outside a flow, where none is asked."""
    address = _address()
    if address is None:
        return True
    try:
        httpx.get(f"{address}/health", timeout=_TIMEOUT)
    except httpx.TransportError:
        return False
    return True


def _await_unpaused(pause: float = 2.0) -> None:
    """Waits while the flow run is paused in the dashboard.

    Raises:
        Stopped: it was cancelled meanwhile, or this process was asked to end.
    """
    was_paused = False
    while (state := _state()) is not None and state.type is StateType.PAUSED:
        if not was_paused:
            progress.report("paused", 0, 1, "Resume in Prefect's dashboard goes on")
            was_paused = True
        stopping.check()
        time.sleep(pause)
    if was_paused:
        progress.report("paused", 1, 1)
    if _is_cancelled(state):
        raise stopping.Stopped(signal.SIGTERM)


def _is_cancelled(state: State | None) -> bool:
    return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)


def _state() -> State | None:
    """Reads the flow run's state; None outside a flow, or where the server does not answer."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    try:
        with get_client({"timeout": _TIMEOUT}, sync_client=True) as client:
            return client.read_flow_run(context.flow_run.id).state
    except (httpx.HTTPError, ObjectNotFound):
        return None


def _address() -> str | None:
    context = FlowRunContext.get()
    return str(context.client.api_url) if context and hasattr(context.client, "api_url") else None


def _pauses() -> Iterator[float]:
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, 15.0)
