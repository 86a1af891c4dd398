"""The records of a search in order: graded once, whatever the order in which they come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jdn_core.search.pairs import PairRecord
from jdn_core.search.score import grade
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from tests.jdn_core.search.worlds import FRAMES, evaluate, evaluation, start

SCORE = ScoreSettings()


def numbered(index: int, *, ap: float = 0.4) -> PairRecord:
    """A record of a pair of that index; pairs of equal AP have equal scores."""
    _, base = start()
    costs = dict(zip(FRAMES, (10, 20, 30), strict=True))
    return PairRecord(replace(base.pair, index=index), "done", evaluation(dict.fromkeys(FRAMES, ap), costs))


def failed(index: int) -> PairRecord:
    _, base = start()
    return evaluate(replace(base.pair, index=index), failing=frozenset({index}))


def indices(standing: Standing) -> list[int]:
    return [graded.record.pair.index for graded in standing.ranked()]


RECORDS = [numbered(0), numbered(1, ap=0.3), failed(2), numbered(3), numbered(4, ap=0.5)]


def test_pairs_are_ranked_by_score_then_by_index_and_failed_ones_not_at_all() -> None:
    standing = Standing(SCORE, RECORDS)
    assert indices(standing) == [4, 0, 3, 1]
    assert [graded.record.pair.index for graded in standing.best(2)] == [4, 0]
    assert Standing(SCORE).best(2) == ()


@given(st.permutations(RECORDS[1:]))
@hypothesis_settings(max_examples=30)
def test_the_order_of_the_results_changes_nothing(order: list[PairRecord]) -> None:
    standing = Standing(SCORE, RECORDS[:1])
    for record in order:
        standing.add(record)
    assert indices(standing) == [4, 0, 3, 1]
    assert list(standing.records) == RECORDS
    assert Standing(SCORE, order + RECORDS[:1]).best(9) == standing.best(9)


def test_pairs_outside_the_bounds_come_behind_the_others_nearest_first() -> None:
    records = [numbered(i, ap=ap) for i, ap in enumerate([0.4, 0.3, 0.5, 0.35, 0.45])]
    assert indices(Standing(ScoreSettings(keep_base_ap=True), records)) == [2, 4, 0, 3, 1]


def test_a_record_has_the_grade_of_its_evaluation_and_a_failed_one_none() -> None:
    standing = Standing(SCORE, RECORDS)
    found = standing.graded(RECORDS[1].pair.key)
    assert RECORDS[1].evaluation is not None
    assert found == (RECORDS[1], grade(RECORDS[1].evaluation, rule=SCORE, base=standing.base))
    assert standing.graded(RECORDS[2].pair.key) == (RECORDS[2], None)


def test_an_equal_record_again_changes_nothing() -> None:
    standing = Standing(SCORE, RECORDS)
    assert standing.add(numbered(3)) is standing.graded(RECORDS[3].pair.key)
    assert (len(standing), indices(standing)) == (5, [4, 0, 3, 1])
    with pytest.raises(ValueError, match="another record of pair 3"):
        standing.add(numbered(3, ap=0.1))


def test_it_says_what_it_holds() -> None:
    standing = Standing(SCORE, RECORDS)
    assert RECORDS[2].pair.key in standing
    assert "f" * 64 not in standing
    assert [record.pair.index for record in standing.newest(2)] == [3, 4]
    assert (standing.newest(0), len(standing.newest(9))) == ((), 5)
    with pytest.raises(KeyError):
        standing.graded("f" * 64)


def test_nothing_is_graded_without_the_base() -> None:
    with pytest.raises(ValueError, match=r"no evaluated base \(pair 0\)"):
        _ = Standing(SCORE, [failed(0)]).base
    with pytest.raises(ValueError, match="no evaluated base"):
        Standing(SCORE, [failed(0), numbered(1)])
    assert len(Standing(SCORE, [failed(1)])) == 1


def test_the_best_of_none_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="top_k must be >= 1, got 0"):
        Standing(SCORE).best(0)


def test_pairs_that_are_added_while_one_looks_do_not_disturb() -> None:
    standing = Standing(SCORE, RECORDS[:2])
    order = standing.ranked()
    first = next(order)
    standing.add(RECORDS[4])
    assert [first.record, *(graded.record for graded in order)] == RECORDS[:2]
