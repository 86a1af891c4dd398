"""What Prefect shows of a running search."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.run.folder import Run
from jdn_core.search.pairs import PairRecord
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import parse
from tasks.orchestration import artifacts
from tasks.tracking.pages import Links, keep_links
from tests.made_up_search import make_records


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(parse({"name": "shapes", "search": {"iterations": 12, "top_k": 3}}), tmp_path)


def text_of(run: Run, records: list[PairRecord]) -> str:
    standing = Standing(run.settings.score, records)
    return artifacts.best_text(run, standing, standing.best(run.settings.search.top_k))


def test_the_table_sets_base_against_best_and_lists_the_top_k(run: Run) -> None:
    head, _, names, _, *rows = text_of(run, make_records(8, failing={2})).splitlines()
    assert head.startswith("base AP 44.0 % at 228 MMACs; best AP ")
    assert names.startswith("| pair | action | H |")
    assert sum(row.startswith("| ") for row in rows) == 3


def test_every_row_links_to_its_run_once_mlflow_knows_the_search(run: Run) -> None:
    records = make_records(3)
    assert "](http" not in text_of(run, records)
    place = Links("http://tracker:5000", "7", "abc")
    keep_links(run.folder, place)
    table = text_of(run, records)
    assert table.count("](http://tracker:5000/#/experiments/7/runs?searchFilter=") == 3
    assert f"]({place.pairs})" in table
    assert place.pair(records[0].pair.key) in table


def test_outside_a_flow_nothing_is_shown_and_nothing_fails(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    standing = Standing(run.settings.score, make_records(3))
    artifacts.show_best(run, standing, standing.best(3))
    assert caplog.text == ""


def test_progress_counts_pairs_after_the_base(run: Run) -> None:
    progress, caption = artifacts.progress_of(run, Standing(run.settings.score, make_records(4)))
    assert (progress, caption) == (25.0, "3 of 12 pairs of shapes. It is not in MLflow yet.")
