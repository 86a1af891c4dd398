"""However `jdn ui` ends, nothing that it or its workers started lives on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from jdn_core.run.folder import Run
from tests.browser.house import House, house
from tests.processes import until, with_variable

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_search_under_way_ends_with_the_dashboards(
    number: signal.Signals, trained: Run, tmp_path: Path
) -> None:
    with house(tmp_path / "home", "--with-worker") as found:
        _search(found, trained)
        assert len(with_variable("JDN_HOME", str(found.home))) > 5
        found.process.send_signal(number)
        found.process.wait(60)
        until(lambda: not with_variable("JDN_HOME", str(found.home)), patience=60)


def _search(found: House, trained: Run) -> None:
    """Begins a search and comes back when it has two pairs and goes on."""
    settings = trained.settings.model_dump(mode="json")
    stages = {"base": str(trained.base), "pool": str(trained.pool)}
    with found.client() as client:
        form = client.read_deployment_by_name("search/search")
        client.create_flow_run_from_deployment(form.id, parameters={"settings": settings, **stages})
    until(lambda: len(list(found.home.glob("*/pairs/*/pair.json"))) >= 2)
