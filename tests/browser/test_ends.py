"""However `jdn ui` ends, nothing that it or its workers started lives on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import settings_file
from jdn_core.run import Run
from tests.browser.house import House, house, processes, until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_search_under_way_ends_with_the_dashboards(
    number: signal.Signals, trained: Run, tmp_path: Path
) -> None:
    with house(tmp_path / "home", "--with-worker") as found:
        _search(found, trained, tmp_path)
        assert len(processes("JDN_HOME", str(found.home))) > 5
        found.process.send_signal(number)
        found.process.wait(60)
        until(lambda: not processes("JDN_HOME", str(found.home)), patience=60)


def _search(found: House, trained: Run, scratch: Path) -> None:
    """Begins a search and comes back when it has two pairs and goes on."""
    file = scratch / "tiny.yaml"
    file.write_text(settings_file.dump(trained.settings))
    place = ["--settings", str(file), "--base", str(trained.base), "--pool", str(trained.pool)]
    for command in (
        ["-m", "flows.cli", "deploy", *place],
        ["-m", "prefect", "deployment", "run", "search/search"],
    ):
        done = subprocess.run(
            [sys.executable, *command], env=found.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    until(lambda: len(list(found.home.glob("*/pairs/*/pair.json"))) >= 2)
