"""What a search hands out and how it is told: the best under H, held-out numbers first."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.reports import markdown
from jdn_core.reports.contest import cautions, cells, headline, holdout_json
from jdn_core.run import report, result_rows
from jdn_core.run.folder import Run
from jdn_core.search.standing import Standing
from jdn_core.settings.whole import parse
from tests.made_up_search import keep_contenders, keep_held_out, make_records

RECORDS = make_records(12)
FACTORS = {"winner": 1.02, "longer": 1.1, "distilled": 0.9, "scaled": 0.0}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    controls = {"controls": ["longer", "distilled", "scaled"], "finish": 0.2}
    return Run(parse({"name": "shapes", "data": {"holdout": 0.4}, "search": controls}), tmp_path)


def test_the_result_is_a_control_that_beats_the_winner(run: Run) -> None:
    outcome = keep_contenders(run, RECORDS, **FACTORS)
    row = result_rows.result_row(outcome)
    assert (outcome.result.name, row.action, row.parent) == ("longer", "control longer", None)
    assert row.to_json()["index"] is None
    assert Path(str(row.weights)).parent == run.contenders.path("longer")


def test_the_result_is_the_winner_finished(run: Run) -> None:
    outcome = keep_contenders(run, RECORDS, **FACTORS | {"longer": 0.5})
    row, best = result_rows.result_row(outcome), outcome.winner.record.pair
    assert (row.action, row.parent, row.teacher) == ("finish", best.index, str(best.teacher))
    assert row.key == outcome.records[0].contender.key


def test_the_result_is_the_pair_where_nothing_stands_beside_it(run: Run) -> None:
    outcome = keep_contenders(Run(parse({"name": "shapes"}), run.folder), RECORDS)
    assert result_rows.result_row(outcome).key == outcome.winner.record.pair.key
    assert result_rows.lines(outcome)[0].title == "base"
    assert "no photos were held out" in headline(result_rows.lines(outcome), outcome.held_out)


def test_the_table_has_base_controls_and_winner_with_held_out_numbers_first(run: Run) -> None:
    outcome = keep_contenders(run, RECORDS, **FACTORS)
    keep_held_out(outcome)
    lines = result_rows.lines(outcome)
    names = [
        line.name for line in lines if line.title != f"base at {result_rows.result_row(outcome).resolution}"
    ]
    assert names == ["base", "longer", "distilled", "winner", "scaled"]
    assert [line.name for line in lines if line.is_result] == ["longer"]
    for line in lines[:1] + lines[-4:-1]:
        assert line.ap is not None
        assert line.held_out == pytest.approx(line.ap / 2)
    assert lines[-1].reason == "oom: peak 2 GiB"
    title, held, *_ = cells(lines[-1])
    assert (title, held) == ("scaled: oom: peak 2 GiB", "–")


def test_the_base_stands_at_the_result_s_frame_too(run: Run) -> None:
    run = Run(
        run.settings.model_copy(update={"score": run.settings.score.model_copy(update={"alpha": 2.0})}),
        run.folder,
    )
    outcome = keep_contenders(run, RECORDS, **FACTORS)
    frames = {line.title: line.resolution for line in result_rows.lines(outcome) if line.name == "base"}
    result = result_rows.result_row(outcome).resolution
    assert result in frames.values()


def test_json_says_what_the_contract_says(run: Run) -> None:
    outcome = keep_contenders(run, RECORDS, **FACTORS)
    found = keep_held_out(outcome)
    told = report.summary(run, Standing(run.settings.score, RECORDS))
    assert told["result"] == "longer"
    assert told["best"]["sha256"] == result_rows.result_row(outcome).sha256
    holdout = told["holdout"]
    assert {"images", "boxes", "base", "longer", "distilled", "scaled", "winner", "best"} <= set(holdout)
    assert (holdout["scaled"], holdout["best"], holdout["against"]) == (None, holdout["longer"], "base")
    assert holdout["interval"] == [-0.01, 0.05]
    assert holdout_json(found) == holdout


def test_a_headline_tells_the_gain_with_its_interval(run: Run) -> None:
    outcome = keep_contenders(run, RECORDS, **FACTORS | {"longer": 0.5})
    keep_held_out(outcome)
    said = headline(result_rows.lines(outcome), outcome.held_out)
    assert said.startswith("The result is the search's winner: AP ")
    assert "on 34 photos that the search never saw" in said
    assert "points against the base trained as long (95 % interval −1.0 to +5.0)" in said


def test_few_boxes_and_missing_classes_are_said(run: Run) -> None:
    outcome = keep_contenders(run, RECORDS, **FACTORS)
    found = keep_held_out(outcome, boxes=150, missing=("square",))
    few, missing = cautions(found)
    assert few.startswith("150 held-out boxes are few")
    assert missing.endswith("square")
    assert cautions(None) == ()
    assert report.summary(run, outcome.standing)["cautions"] == [few, missing]


def test_markdown_has_the_same_table(run: Run) -> None:
    outcome = keep_contenders(run, RECORDS, **FACTORS)
    found, lines = keep_held_out(outcome, boxes=150), result_rows.lines(outcome)
    text = markdown.contest(lines, found, cautions(found)).splitlines()
    assert text[0] == headline(lines, found)
    assert text[2].startswith("| detector | held-out AP | AP on val |")
    assert len([line for line in text if line.startswith("| ")]) == len(lines) + 2
    assert text[-1].startswith("- 150 held-out boxes are few")
