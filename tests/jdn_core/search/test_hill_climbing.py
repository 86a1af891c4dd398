from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jdn_core.search.hill_climbing import ClimbRules, HillClimber, first_pair
from jdn_core.search.pairs import Evaluation, Pair, PairRecord
from jdn_core.search.standing import Standing
from jdn_core.settings.search import ScoreSettings
from jdn_core.space.actions import NarrowHeads, apply, key, kind, legal, parse
from jdn_core.space.teachers import SubnetSpace
from tests.jdn_core.search.worlds import BASE, SHARES, SPACE, evaluate, rules, start

ONE_TEACHER = SubnetSpace(((1, 1),) * 4, (1.0,))
Choose = Callable[[int], int]


def climb(
    count: int,
    *,
    workers: int = 1,
    choose: Choose = lambda n: 0,
    failing: frozenset[int] = frozenset(),
    **changes: Any,
) -> list[PairRecord]:
    """A whole search; ``choose(n)`` says which of n running pairs ends next."""
    climb_rules, base = start(**changes)
    climber = HillClimber(climb_rules, [base])
    records = [base]
    while len(records) <= count:
        while len(climber.pending) < workers and climber.next_index <= count and climber.ready:
            assert climber.ask() is not None
        ended = climber.pending[choose(len(climber.pending))]
        records.append(evaluate(ended, failing=failing))
        climber.tell(records[-1])
    return sorted(records, key=lambda record: record.pair.index)


def is_student_action(pair: Pair) -> bool:
    return not pair.action.startswith("teacher:")


def test_the_search_starts_from_the_base_with_the_super_network() -> None:
    pair = first_pair(rules(), BASE)
    assert (pair.index, pair.parent, pair.action) == (0, None, "base")
    assert (pair.student, pair.teacher) == (BASE, SPACE.largest)


def test_the_first_proposals_only_mutate_the_teacher() -> None:
    pairs = [record.pair for record in climb(12, frozen_student_iterations=6)]
    assert not any(map(is_student_action, pairs[1:7]))
    assert all(pair.student == BASE for pair in pairs[:7])
    assert any(map(is_student_action, pairs[7:]))


@pytest.mark.parametrize(("probability", "student"), [(0.0, False), (1.0, True)])
def test_the_side_follows_the_probability(probability: float, student: bool) -> None:
    pairs = [
        record.pair for record in climb(12, frozen_student_iterations=0, student_probability=probability)
    ]
    assert [is_student_action(pair) for pair in pairs[1:]] == [student] * 12


def test_a_pool_of_one_teacher_is_searched_by_students_alone() -> None:
    pairs = [record.pair for record in climb(12, space=ONE_TEACHER, frozen_student_iterations=5)]
    assert all(map(is_student_action, pairs[1:]))


def test_every_kind_of_action_and_every_slot_has_its_turn() -> None:
    pairs = [record.pair for record in climb(100, draw="kind")]
    kinds = Counter(kind(parse(pair.action)) for pair in pairs[1:] if is_student_action(pair))
    slots = Counter(pair.action.rpartition(":")[0] for pair in pairs[1:] if not is_student_action(pair))
    assert set(kinds) == {"prune_channels", "prune_layer", "add_layer", "rearrange"}
    assert min(kinds.values()) >= 5
    assert len(slots) == 10


def test_neck_and_heads_narrow_where_the_rules_say_so() -> None:
    pairs = {record.pair.key: record.pair for record in climb(100, draw="kind", narrow_shares=(0.25,))}
    narrowed = [pair for pair in pairs.values() if pair.action == "narrow_heads:0.25"]
    assert len(narrowed) >= 5
    for pair in narrowed:
        parent = pairs[pair.parent or ""].student
        assert pair.student == apply(parent, NarrowHeads(0.25))


def test_kinds_that_gave_better_pairs_are_drawn_more_often() -> None:
    """Here an added layer is better than its parent, and nothing else is."""
    changes = {"student_probability": 1.0, "frozen_student_iterations": 0, "space": ONE_TEACHER}
    counts = {}
    for draw in ("kind", "success"):
        climb_rules, base = start(draw=draw, score=ScoreSettings(alpha=0.0), **changes)
        climber, aps, kinds = HillClimber(climb_rules, [base]), {base.pair.key: 0.3}, Counter[str]()
        for _ in range(80):
            pair = climber.ask()
            assert pair is not None
            name = kind(parse(pair.action))
            kinds[name] += 1
            aps[pair.key] = ap = aps[pair.parent or ""] + (0.01 if name == "add_layer" else -0.01)
            climber.tell(replace(evaluate(pair), evaluation=flat_evaluation(pair, ap)))
        counts[draw] = kinds
    assert counts["success"]["add_layer"] > 1.7 * counts["kind"]["add_layer"]
    assert min(counts["success"].values()) >= 3  # no kind is given up
    assert len(counts["success"]) == 4


def flat_evaluation(pair: Pair, ap: float) -> Evaluation:
    """The same AP at every resolution."""
    found = evaluate(pair).evaluation
    assert found is not None
    return replace(found, measurements=tuple(replace(m, coco={"AP": ap}) for m in found.measurements))


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_every_legal_change_of_a_pair_is_equally_likely(side: str) -> None:
    draws = 4000
    drawn: Counter[str] = Counter()
    for seed in range(draws):
        climb_rules, base = start(
            seed=seed, student_probability=float(side == "student"), frozen_student_iterations=0
        )
        pair = HillClimber(climb_rules, [base]).ask()
        assert pair is not None
        drawn[pair.action] += 1
    students = {key(action) for action in legal(BASE, prune_shares=SHARES)}
    teachers = {name for name, _ in SPACE.mutations(SPACE.largest)}
    every = students if side == "student" else teachers
    assert set(drawn) == every
    expected = draws / len(every)
    chi_square = sum((count - expected) ** 2 / expected for count in drawn.values())
    assert chi_square < 2.5 * len(every)  # far beyond the 99.9th percentile for so many


def test_no_pair_is_tried_twice() -> None:
    pairs = [record.pair for record in climb(100, workers=3, lookback=6)]
    assert len({(pair.student, pair.teacher) for pair in pairs}) == len(pairs) == 101


def test_one_step_lies_between_a_pair_and_its_parent_which_was_among_the_best() -> None:
    records = climb(40, top_k=3, lookback=2)
    for record in records[1:]:
        known = records[: max(0, record.pair.index - 2) + 1]
        best = [graded.record.pair for graded in Standing(ScoreSettings(), known).best(3)]
        parent = next(pair for pair in best if pair.key == record.pair.parent)
        same = (parent.student == record.pair.student, parent.teacher == record.pair.teacher)
        assert same == ((False, True) if is_student_action(record.pair) else (True, False))


def test_failed_pairs_have_no_children_and_are_not_tried_again() -> None:
    failing = frozenset(range(1, 60, 2))
    records = climb(60, failing=failing)
    failed = {record.pair.key for record in records if record.state == "failed"}
    assert len(failed) == 30
    assert not failed & {record.pair.parent for record in records}
    assert len({(record.pair.student, record.pair.teacher) for record in records}) == 61


def test_the_search_climbs() -> None:
    records = climb(60)
    standing = Standing(ScoreSettings(), records)
    grades = [standing.graded(record.pair.key).grade for record in records]
    scores = [grade.score for grade in grades if grade]
    assert max(scores[1:]) > 1.1 * scores[0]
    assert sum(scores[-20:]) > sum(scores[1:21])


def test_a_bound_that_only_the_base_keeps_does_not_stop_the_climb() -> None:
    records = climb(40, score=ScoreSettings(min_ap=0.9))
    generations = {records[0].pair.key: 0}
    for record in records[1:]:
        generations[record.pair.key] = generations[record.pair.parent or ""] + 1
    assert max(generations.values()) > 3


def test_a_pruning_that_no_evaluation_foresaw_is_not_proposed() -> None:
    climb_rules, base = start(space=ONE_TEACHER)
    assert base.evaluation is not None
    blind = replace(base, evaluation=replace(base.evaluation, prunings={}))
    climber = HillClimber(climb_rules, [blind])
    asked = []
    while pair := climber.ask():
        asked.append(pair)
        climber.tell(evaluate(pair, failing=frozenset([pair.index])))
    assert {kind(parse(pair.action)) for pair in asked} == {"add_layer", "rearrange"}


def test_when_all_neighbours_have_failed_the_search_is_exhausted() -> None:
    climb_rules, base = start(space=ONE_TEACHER)
    climber = HillClimber(climb_rules, [base])
    asked = []
    while pair := climber.ask():
        asked.append(pair.action)
        climber.tell(evaluate(pair, failing=frozenset([pair.index])))
    assert len(asked) == len(set(asked)) == 2 + 1 + 4 + 6
    assert climber.ask() is None
    assert climber.next_index == 14


def test_worse_pairs_have_their_turn_when_the_best_have_no_neighbour_left() -> None:
    records = climb(30, top_k=1, space=ONE_TEACHER, failing=frozenset(range(4, 31)))
    parents = [record.pair.parent for record in records[1:]]
    assert len(set(parents)) > 1
    assert len({record.pair.student for record in records}) == 31


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("failing", [frozenset(), frozenset({2, 3, 9})])
def test_neither_workers_nor_their_order_change_a_search(seed: int, failing: frozenset[int]) -> None:
    alone = climb(25, lookback=4, seed=seed, failing=failing)
    for workers in (2, 3, 4):
        rng = Random(workers)
        crowd = climb(25, workers=workers, choose=rng.randrange, lookback=4, seed=seed, failing=failing)
        assert crowd == alone


@hypothesis_settings(max_examples=10)
@given(st.data(), st.integers(1, 4))
def test_every_order_of_finishing_gives_the_same_search(data: st.DataObject, workers: int) -> None:
    crowd = climb(14, workers=workers, choose=lambda n: data.draw(st.integers(0, n - 1)), lookback=4)
    assert crowd == climb(14, lookback=4)


def test_another_lookback_or_seed_gives_another_search() -> None:
    plain = climb(20, lookback=2)
    assert climb(20, lookback=3) != plain
    assert [record.pair.action for record in climb(20, lookback=2, seed=1)] != [r.pair.action for r in plain]


def test_a_climber_made_from_any_records_goes_on_as_the_first_one_did() -> None:
    climb_rules, base = start(lookback=3)
    climber, records, rng = HillClimber(climb_rules, [base]), [base], Random(5)
    for _ in range(15):
        while climber.ready and len(climber.pending) < 3:
            climber.ask()
        loaded = HillClimber(climb_rules, [PairRecord.from_json(record.to_json()) for record in records])
        while loaded.next_index < climber.next_index:
            loaded.ask()
        assert loaded.pending == climber.pending
        records.append(evaluate(climber.pending[rng.randrange(len(climber.pending))]))
        climber.tell(records[-1])


@pytest.mark.parametrize("failing", [frozenset(), frozenset({1, 6, 13})])
def test_a_new_climber_asks_for_what_the_one_before_it_would_have_asked_for(failing: frozenset[int]) -> None:
    records = climb(30, workers=3, lookback=4, failing=failing)
    for index in range(1, 31):
        assert HillClimber(rules(lookback=4), records[:index]).ask() == records[index].pair


def test_gaps_in_the_records_are_proposed_again_and_equal_what_they_were() -> None:
    records = climb(12, lookback=5)
    climber = HillClimber(
        rules(lookback=5), [record for record in records if record.pair.index not in (9, 11)]
    )
    asked = []
    while climber.next_index <= 12:
        pair = climber.ask()
        assert pair is not None
        asked.append(pair)
    assert asked == [records[9].pair, records[11].pair]


def test_a_climber_waits_for_the_results_that_a_proposal_needs() -> None:
    climb_rules, base = start(lookback=2)
    climber = HillClimber(climb_rules, [base])
    climber.ask()
    climber.ask()
    assert not climber.ready
    with pytest.raises(
        RuntimeError, match=r"ask\(\) for pair 3 needs the results of \[1\]; pending: \[1, 2\]"
    ):
        climber.ask()
    climber.tell(evaluate(climber.pending[0]))
    assert climber.ready


def test_a_climber_refuses_what_it_did_not_ask_for() -> None:
    climb_rules, base = start(lookback=2)
    climber = HillClimber(climb_rules, [base])
    first, second = climber.ask(), climber.ask()
    assert first is not None
    assert second is not None
    with pytest.raises(RuntimeError, match=r"tell\(\) for unknown pair 7; pending: \[1, 2\]"):
        climber.tell(evaluate(replace(first, index=7)))
    with pytest.raises(
        RuntimeError, match=r"tell\(\) for another pair 2 than was asked for; pending: \[1, 2\]"
    ):
        climber.tell(evaluate(replace(second, teacher=first.teacher)))
    climber.tell(evaluate(first))
    with pytest.raises(RuntimeError, match=r"tell\(\) for unknown pair 1; pending: \[2\]"):
        climber.tell(evaluate(first))


def test_a_climber_needs_the_base_and_one_record_of_each_pair() -> None:
    climb_rules, base = start()
    with pytest.raises(ValueError, match="the records must hold pair 0, the base"):
        HillClimber(climb_rules, [])
    with pytest.raises(ValueError, match="the records hold two pairs of index 0"):
        HillClimber(climb_rules, [base, base])


def test_results_after_the_horizon_are_not_looked_at() -> None:
    records = climb(6, lookback=3)
    few = HillClimber(rules(lookback=3), records[:4])
    asked = [few.ask() for _ in range(3)]
    many = HillClimber(rules(lookback=3), reversed(records[:6])).ask()
    assert asked[-1] == many == records[6].pair


def test_nothing_is_proposed_before_the_base_was_evaluated() -> None:
    climb_rules, base = start()
    failed = PairRecord(base.pair, "failed", reason="oom")
    with pytest.raises(ValueError, match="no evaluated base"):
        HillClimber(climb_rules, [failed]).ask()


def test_the_rules_tell_which_results_a_proposal_knows() -> None:
    climb_rules: ClimbRules = rules(lookback=4)
    assert [climb_rules.horizon(index) for index in (1, 4, 5, 10)] == [0, 0, 1, 6]


def test_any_pair_may_be_a_parent_in_a_random_search() -> None:
    ranked, drawn = (climb(60, top_k=1, lookback=1, parents=parents) for parents in ("ranked", "any"))
    bests = [{record.pair.parent for record in records} for records in (ranked, drawn)]
    assert len(bests[1]) > 2 * len(bests[0])
    assert [record.pair for record in drawn] == [
        record.pair for record in climb(60, top_k=1, lookback=1, parents="any")
    ]


def test_without_shares_no_channel_is_pruned() -> None:
    records = climb(30, prune_shares=(), student_probability=1.0)
    kinds = {record.pair.action.partition(":")[0] for record in records}
    assert "prune_channels" not in kinds
    assert "add_layer" in kinds
