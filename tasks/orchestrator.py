"""Whether Prefect's server is there: asked before anything is begun that it has to hear of."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from prefect.context import FlowRunContext

from jdn_core.errors import ServiceUnavailable

_TIMEOUT = 3.0

logger = logging.getLogger(__name__)


def require(patience: float) -> None:
    """Returns once the server of the flow at hand answers; outside a flow at once.

    Raises:
        ServiceUnavailable: it did not, for ``patience`` seconds; a restarted one needs ten to twenty.
    """
    begun = time.monotonic()
    for pause in _pauses():
        if answers():
            return
        if time.monotonic() - begun + pause > patience:
            raise ServiceUnavailable(
                f"Prefect's server does not answer at {_address()}, for {patience:.0f} s; "
                "start it again and resume the search"
            )
        logger.warning("Prefect's server does not answer; asking again in %d s", pause)
        time.sleep(pause)


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
