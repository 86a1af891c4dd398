"""Whether a server answers at the address of its health check."""

from __future__ import annotations

import urllib.request

from jdn_core.errors import ServiceUnavailable


def health(url: str, *, seconds: float) -> int:
    """Returns the HTTP status of a server that answers within so many seconds.

    Raises:
        ServiceUnavailable: it does not, or answers with an error; the message says why.
    """
    try:
        with urllib.request.urlopen(url, timeout=seconds) as reply:
            return int(reply.status)
    except (OSError, ValueError) as error:  # URLError is an OSError; a bad address is a ValueError
        raise ServiceUnavailable(str(getattr(error, "reason", error))) from error
