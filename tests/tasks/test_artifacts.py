"""What Prefect shows of a running search."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.run.folder import Run
from jdn_core.settings.whole import parse
from jdn_core.storage import durable
from tasks import artifacts
from tasks.tracking import links
from tests.made_up_search import make_records


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(parse({"name": "shapes", "search": {"iterations": 12, "top_k": 3}}), tmp_path)


def test_the_table_sets_base_against_best_and_lists_the_top_k(run: Run) -> None:
    head, _, names, _, *rows = artifacts.top_k_table(run, make_records(8, failing={2})).splitlines()
    assert head.startswith("base AP 44.0 % at 228 MMACs; best AP ")
    assert names.startswith("| pair | action | H |")
    assert sum(row.startswith("| ") for row in rows) == 3


def test_every_row_links_to_its_run_once_mlflow_knows_the_search(run: Run) -> None:
    records = make_records(3)
    assert "](http" not in artifacts.top_k_table(run, records)
    place = links.Links("http://tracker:5000", "7", "abc")
    (run.folder / "work").mkdir()
    durable.write_json(run.folder / links.LINKS_FILE, place._asdict())
    table = artifacts.top_k_table(run, records)
    assert table.count("](http://tracker:5000/#/experiments/7/runs?searchFilter=") == 3
    assert f"]({place.pairs})" in table
    assert place.pair(records[0].pair.key) in table


def test_outside_a_flow_nothing_is_shown_and_nothing_fails(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts.publish_top_k(run, make_records(3))
    assert caplog.text == ""
