"""One fork server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.fork_server import ForkServer, running


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    with running() as server:
        yield server
