"""Old pairs in a new search: new keys, old results, and a population to climb on from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jdn_core.search.forking import replanted
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import PairRecord
from jdn_core.settings.search import ScoreSettings
from tests.jdn_core.search.worlds import evaluate, start


@pytest.fixture
def old() -> list[PairRecord]:
    rules, base = start()
    climber, records = HillClimber(rules, [base]), [base]
    for _ in range(8):
        records.append(evaluate(climber.ask(), failing=frozenset({3})))
        climber.tell(records[-1])
    return records


def test_results_stay_and_parents_follow_their_new_keys(old: list[PairRecord]) -> None:
    planted = replanted(old, search="next", seed=7)
    new = list(planted.values())
    assert [record.pair.index for record in new] == list(range(9))
    assert {(record.pair.search, record.pair.seed) for record in new} == {("next", 7)}
    assert [(r.state, r.evaluation, r.files) for r in new] == [(r.state, r.evaluation, r.files) for r in old]
    for before in old[1:]:
        assert planted[before.pair.key].pair.parent == planted[before.pair.parent].pair.key


def test_gaps_of_a_stopped_search_are_closed(old: list[PairRecord]) -> None:
    parents = {record.pair.parent for record in old}
    childless = next(record for record in old[1:-1] if record.pair.key not in parents)
    new = replanted([record for record in old if record != childless], search="next", seed=7).values()
    assert [record.pair.index for record in new] == list(range(8))


def test_a_new_search_climbs_on_from_them_under_other_rules(old: list[PairRecord]) -> None:
    new = list(replanted(old, search="next", seed=7).values())
    rules = replace(start()[0], name="next", seed=7, score=ScoreSettings(alpha=0.1))
    pair = HillClimber(rules, new).ask()
    assert (pair.index, pair.search) == (9, "next")
    assert (pair.student, pair.teacher) not in {(r.pair.student, r.pair.teacher) for r in new}


def test_the_same_name_and_seed_give_the_same_records(old: list[PairRecord]) -> None:
    assert replanted(old, search="world", seed=0) == {record.pair.key: record for record in old}


def test_a_missing_parent_is_refused(old: list[PairRecord]) -> None:
    with pytest.raises(ValueError, match="pair 1 needs the record of its parent"):
        replanted(old[1:], search="next", seed=7)
