"""Whether a server answers at the address of its health check."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException

from jdn_core.errors import ServiceUnavailable


def health(url: str, *, seconds: float) -> int:
    """Returns the HTTP status of a server that answers within so many seconds.

    Raises:
        ServiceUnavailable: it does not, or answers with an error; the message says why.
    """
    try:
        with urllib.request.urlopen(url, timeout=seconds) as reply:
            return int(reply.status)
    except (OSError, ValueError) as error:  # URLError is an OSError; an address of no kind is a ValueError
        raise ServiceUnavailable(str(getattr(error, "reason", error))) from error
    except HTTPException as error:  # its message may be a part of the address, and so of a password
        raise ServiceUnavailable("is no address of a server") from error
