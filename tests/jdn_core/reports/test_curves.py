"""What the figures say."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from jdn_core.evaluation.complexity import complexity
from jdn_core.reports import curves
from jdn_core.reports.tables import base_row, best_row, candidates
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from tests.made_up_search import FRAMES, base_spec, make_records

RECORDS = make_records(30, failing={4, 9})
FIRST = RECORDS[0].evaluation
assert FIRST is not None
STANDING = Standing(ScoreSettings(), RECORDS)
ROWS = candidates(STANDING, folder=Path("out"))
BASE, BEST = base_row(STANDING, folder=Path("out")), best_row(ROWS)


def test_the_history_rises_to_the_winner() -> None:
    history = curves.score_history(ROWS, base=BASE)
    assert set(range(30)) - set(history.pairs) == {4, 9}
    assert list(history.best) == sorted(history.best)
    assert (history.best[-1], history.base) == (BEST.score, 0.44)


def test_nothing_beats_the_front_and_the_front_beats_all_else() -> None:
    found = curves.pareto_front(ROWS, base=BASE, best=BEST)
    assert len(found.points) == 28 * len(FRAMES)

    def beaten(point: curves.Point) -> bool:
        return any(
            other.ap >= point.ap and other.gmacs <= point.gmacs and other[2:] != point[2:]
            for other in found.points
        )

    assert {point[2:] for point in found.points if not beaten(point)} == {point[2:] for point in found.front}
    assert [point.gmacs for point in found.front] == sorted(point.gmacs for point in found.front)


def test_an_action_raised_h_where_the_child_scores_above_its_parent() -> None:
    steps = curves.steps(ROWS)
    gains = curves.action_gains(steps)
    assert len(steps) == 29
    assert sum(gain.tried for gain in gains) == 29
    assert sum(gain.failed for gain in gains) == 2
    better = [
        row for row in ROWS if row.parent is not None and (row.score or 0) > (ROWS[row.parent].score or 0)
    ]
    assert sum(gain.raised for gain in gains) == len(better) > 0
    assert all((gain.best_gain or 0) > 0 for gain in gains if gain.raised)


@pytest.mark.parametrize(
    ("key", "kind", "text"),
    [
        ("prune_channels:0.05", "prune channels", "prune 5 % of the channels"),
        ("prune_layer", "prune layer", "prune layer"),
        ("add_layer:3", "add layer", "add a layer to stage 3"),
        ("narrow_heads:0.25", "narrow heads", "narrow neck and heads by 25 %"),
        ("rearrange:2:last", "rearrange", "rearrange: last block of stage 2"),
        ("teacher:depth:3:12", "teacher depth", "teacher: depth of stage 3 to 12"),
        ("teacher:neck:1.25", "teacher neck", "teacher: neck to 1.25"),
        ("base", "base", "base"),
    ],
)
def test_actions_are_said_in_words(key: str, kind: str, text: str) -> None:
    assert (curves.action_kind(key), curves.action_text(key)) == (kind, text)


def test_computation_by_part_adds_up_to_the_whole() -> None:
    spec = base_spec()
    found = curves.stage_computation(spec, spec, largest=FRAMES[-1], chosen=FRAMES[0])
    assert [bar.label for bar in found.bars] == ["base at 160x120", "best at 160x120", "best at 96x96"]
    assert sum(found.bars[0].gmacs) == pytest.approx(complexity(spec, FRAMES[-1]).macs / 1e9)
    assert len(curves.stage_computation(spec, spec, largest=FRAMES[-1], chosen=FRAMES[-1]).bars) == 2


def test_the_lineage_leads_from_the_base_to_the_winner() -> None:
    chain = curves.lineage(ROWS, BEST)
    assert (chain[0].candidate.index, chain[-1].candidate) == (0, BEST)
    assert chain[0].gain is None
    for before, after in pairwise(chain):
        assert after.candidate.parent == before.candidate.index
        assert after.gain == (after.candidate.score or 0) - (before.candidate.score or 0)


def test_costs_add_up_without_the_failed() -> None:
    spent = curves.costs(RECORDS)
    assert len(spent.pairs) == 28
    assert spent.total[-1] == pytest.approx(sum(spent.seconds))
    assert curves.costs([]) == curves.NOTHING_SPENT


def test_a_pair_that_was_not_evaluated_is_no_point() -> None:
    with pytest.raises(ValueError, match="pair 4 was not evaluated"):
        curves.pareto_front(ROWS, base=ROWS[4], best=BEST)
