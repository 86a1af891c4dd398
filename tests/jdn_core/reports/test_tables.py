"""The table of pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jdn_core.errors import UsageError
from jdn_core.reports.tables import base_row, best_row, candidates, ranked
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from jdn_core.space.notation import format_backbone
from tests.made_up_search import make_records

RECORDS = make_records(12, failing={4})
STANDING = Standing(ScoreSettings(), RECORDS)
ROWS = candidates(STANDING, folder=Path("out"))
KEYS = (
    "index key parent action student teacher resolution ap ap_by_resolution macs macs_by_resolution params "
    "latency_ms score state weights sha256 teacher_ap"
)


def test_a_row_has_the_contracts_keys_and_is_json() -> None:
    for row in ROWS:
        assert " ".join(json.loads(json.dumps(row.to_json()))) == KEYS


def test_a_row_shows_its_pair_at_the_resolution_that_the_score_chose() -> None:
    record, row = RECORDS[7], ROWS[7]
    assert record.evaluation is not None
    grade = STANDING.graded(record.pair.key).grade
    assert grade is not None
    measurement = grade.measurement
    assert (row.resolution, row.ap, row.macs, row.score) == (
        str(measurement.resolution), measurement.ap, measurement.macs, grade.score,
    )  # fmt: skip
    assert row.ap_by_resolution == {str(m.resolution): m.ap for m in record.evaluation.measurements}
    assert row.latency_ms == record.evaluation.timing.latency_ms[str(measurement.resolution)]
    assert row.student == format_backbone(record.pair.student.backbone)
    assert row.weights == f"out/pairs/{record.pair.key}/weights.safetensors"
    assert row.parent == next(r.pair.index for r in RECORDS if r.pair.key == record.pair.parent)


def test_a_failed_pair_has_a_row_with_nothing_measured() -> None:
    row = ROWS[4]
    assert (row.index, row.state, row.score, row.ap, row.macs, row.weights) == (
        4,
        "failed",
        None,
        None,
        None,
        None,
    )
    assert (row.ap_by_resolution, row.macs_by_resolution) == ({}, {})


def test_the_base_is_shown_at_the_largest_resolution() -> None:
    row = base_row(STANDING, folder=Path("out"))
    assert (row.index, row.resolution, row.ap, row.score) == (0, "160x120", 0.44, 0.44)


def test_a_search_without_base_has_no_base_row() -> None:
    with pytest.raises(ValueError, match="no evaluated base"):
        base_row(Standing(ScoreSettings()), folder=Path("out"))


@pytest.mark.parametrize(
    ("key", "sign"), [("score", -1), ("ap", -1), ("macs", 1), ("params", 1), ("index", 1)]
)
def test_rows_sort_best_first_and_failed_last(key: str, sign: int) -> None:
    values = [getattr(row, key) for row in ranked(ROWS, by=key) if row.state == "done"]
    assert values == sorted(values, key=lambda value: sign * value)
    assert key == "index" or ranked(ROWS, by=key)[-1].state == "failed"


def test_of_equal_scores_the_first_pair_wins() -> None:
    rows = [row._replace(score=0.5) for row in ROWS[1:4]]
    assert best_row(rows).index == 1
    assert [row.index for row in ranked(rows, top=2)] == [1, 2]


def test_a_broken_bound_leaves_no_score_and_the_first_pair_is_shown() -> None:
    strict = Standing(ScoreSettings(max_macs=1.0), RECORDS)
    rows = candidates(strict, folder=Path("out"))
    assert {row.score for row in rows} == {None}
    assert best_row(rows).index == 0


def test_no_rows_have_no_best() -> None:
    with pytest.raises(ValueError, match="no pairs yet"):
        best_row([])


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(UsageError, match=r"sort key must be one of score, ap, .*, got 'beauty'"):
        ranked(ROWS, by="beauty")


def test_a_parent_that_is_not_there_is_none() -> None:
    stray = replace(RECORDS[1], pair=replace(RECORDS[1].pair, parent="f" * 64))
    table = candidates(Standing(ScoreSettings(), [RECORDS[0], stray]), folder=Path("out"))
    assert table[1].parent is None
