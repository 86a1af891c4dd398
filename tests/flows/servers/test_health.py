"""A server that answers, one that does not, and an address that is none."""

from __future__ import annotations

import pytest

from flows.servers.health import health
from jdn_core.errors import ServiceUnavailable


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/health", "refused"),
        ("nowhere", "unknown url type"),
        ("http://user:secret@bad host/health", "is no address of a server"),
    ],
)
def test_what_does_not_answer_is_unavailable_and_no_password_is_printed(url: str, said: str) -> None:
    with pytest.raises(ServiceUnavailable, match=said) as caught:
        health(url, seconds=1)
    assert "secret" not in str(caught.value)
