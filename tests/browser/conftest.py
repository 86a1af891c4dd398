"""A browser, and a tiny base and pool to search with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from jdn_core.run.folder import Run
from tests.browser.house import House, house
from tests.flows import teamwork
from tests.postgresql import binaries, postgresql

ITERATIONS = 5


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser; without one, or without playwright, tests that ask are skipped."""
    pytest.importorskip("playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no chromium")
    return found


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teamwork.trained(tmp_path_factory.mktemp("trained"), iterations=ITERATIONS, workers=1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def at_home(
    request: pytest.FixtureRequest, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """`jdn ui --with-worker` on either database."""
    home = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        with house(home, "--with-worker") as found:
            yield found
        return
    if binaries() is None:
        pytest.skip("there is no PostgreSQL")
    with postgresql() as database, house(home, "--with-worker", database=database) as found:
        yield found
