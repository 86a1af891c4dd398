"""What `jdn upgrade` prints at its end: held-out numbers first, val's as what the search optimised."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.cli.train import _upgraded
from flows.inputs import models, searches
from flows.inputs.settings_file import dump
from jdn_core.run import report
from jdn_core.run.folder import Run
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import Settings, parse
from tests.made_up_search import keep, keep_contenders, keep_held_out, make_records

FACTORS = {"longer": 1.1, "scaled": 0.9}


def settings(*, honest: bool) -> Settings:
    search: dict[str, Any] = {"iterations": 11}
    if honest:
        search["controls"] = [*FACTORS]
    return parse({"name": "shapes", "data": {"holdout": 0.4 if honest else 0.0}, "search": search})


def said(data: dict[str, Any]) -> str:
    file = io.StringIO()
    _upgraded(data).show(Console(file=file, width=100))
    return file.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished search with two controls, of which one beats the winner, and held-out photos."""
    run = Run(settings(honest=True), tmp_path)
    (tmp_path / "settings.yaml").write_text(dump(run.settings))
    keep_held_out(keep_contenders(run, [keep(each, tmp_path) for each in make_records(12)], **FACTORS))
    return run


def test_held_out_numbers_come_first_and_the_result_is_marked(run: Run) -> None:
    text = said(report.summary(run, Standing(run.settings.score, run.records.all())))
    assert text.index("never seen by the search") < text.index("as the search measured them")
    assert "AP on val: on the photos that the search optimised" in text
    (marked,) = [line.strip() for line in text.splitlines() if " epochs * " in line]
    assert marked.startswith("longer: 36 epochs *")
    assert "The result is the base trained as long: AP " in text
    assert max(len(line) for line in text.splitlines() if str(run.folder) not in line) <= 100


def test_a_search_without_controls_and_held_out_photos_is_told_as_before(tmp_path: Path) -> None:
    run = Run(settings(honest=False), tmp_path)
    text = said(report.summary(run, Standing(run.settings.score, make_records(12))))
    assert "never seen" not in text
    assert text.startswith("shapes: base and best student after 12 pairs")


def test_a_gain_over_nothing_is_no_percentage(run: Run) -> None:
    data = report.summary(run, Standing(run.settings.score, run.records.all()))
    data["base"] |= {"latency_ms": None, "score": None}
    (row,) = [line for line in said(data).splitlines() if line.strip().startswith("latency")]
    assert "%" not in row


def test_what_is_shipped_is_the_result(run: Run) -> None:
    row = searches.row(run.folder, None)
    assert row.action == "control longer"
    Path(str(row.weights)).touch()
    found = models.find(str(run.folder))
    assert (found.folder, str(found.resolution)) == (run.contenders.path("longer"), row.resolution)
    assert models.find(f"{run.folder}#3").folder == run.records.path(searches.row(run.folder, 3).key)
