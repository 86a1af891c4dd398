"""Evolution over a pool: what is tried follows from rules and results alone, and never costs too much."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jdn_core.evaluation.complexity import complexity
from jdn_core.search.evolution import EvolutionRules, breed, ranked
from jdn_core.search.subnets import SubnetRecord
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.families import family
from jdn_core.space.teachers import SubnetSpace, SubnetSpec

SPACE = SubnetSpace(((1, 2), (1, 3), (2, 4), (1, 2)), (1.0, 1.25, 1.5), width=0.25, neck=48, head=64)
FRAMES = (Resolution(128, 96), Resolution(256, 192))
TEMPLATE = DetectorSpec(family("r18"), ((1, "cell"), (2, "dog")))


def rules(**changes: Any) -> EvolutionRules:
    values: dict[str, Any] = {"population": 6, "parents": 3, "max_macs": None}
    return EvolutionRules(SPACE, TEMPLATE, FRAMES, **(values | changes))


def middle(share: float = 0.5) -> int:
    """A bound between the smallest and the largest subnet's cost at the larger frame."""
    least, most = (cost(each, FRAMES[1]) for each in (SPACE.smallest, SPACE.largest))
    return int(least + share * (most - least))


def cost(subnet: SubnetSpec, frame: Resolution) -> int:
    return complexity(SPACE.detector_spec(subnet, TEMPLATE), frame).macs


def record(subnet: SubnetSpec, given_rules: EvolutionRules) -> SubnetRecord:
    """A made-up world in which wide necks and deep third stages detect well, at high resolutions too."""
    frames = given_rules.affordable(subnet)
    worth = subnet.neck + subnet.depths[2] / 4 + sum(subnet.widths) / 40
    ap = {str(frame): worth / 4 + frame.width / 10_000 for frame in frames}
    return SubnetRecord(subnet, ap, {str(frame): cost(subnet, frame) for frame in frames}, 1)


def evolved(given_rules: EvolutionRules, generations: int) -> list[SubnetRecord]:
    known: list[SubnetRecord] = []
    for number in range(generations):
        known += [record(subnet, given_rules) for subnet in breed(given_rules, number, known=known)]
    return known


def test_a_search_is_a_function_of_its_rules() -> None:
    assert evolved(rules(), 4) == evolved(rules(), 4)
    assert evolved(rules(), 4) != evolved(rules(seed=1), 4)


def test_the_order_in_which_results_came_does_not_matter() -> None:
    known = evolved(rules(), 3)
    shuffled = Random(1).sample(known, len(known))
    assert breed(rules(), 3, known=known) == breed(rules(), 3, known=shuffled)


def test_more_generations_begin_with_the_same_subnets() -> None:
    assert evolved(rules(), 5)[:12] == evolved(rules(), 2)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_nothing_over_the_bound_is_ever_tried_and_nothing_twice(seed: int, share: float) -> None:
    bound = middle(share)
    bred = evolved(rules(seed=seed, max_macs=bound), 3)
    subnets = [each.subnet for each in bred]
    assert len(set(subnets)) == len(subnets)
    assert all(min(cost(subnet, frame) for frame in FRAMES) <= bound for subnet in subnets)
    assert all(cost <= bound for each in bred for cost in each.macs.values())


def test_a_bound_that_only_the_smallest_subnet_keeps_leaves_that_one() -> None:
    tight = rules(max_macs=cost(SPACE.smallest, FRAMES[0]))
    assert breed(tight, 0, known=()) == (SPACE.smallest,)
    assert breed(tight, 1, known=evolved(tight, 1)) == ()


def test_a_bound_that_nothing_keeps_is_refused_with_the_least_cost() -> None:
    least = cost(SPACE.smallest, FRAMES[0])
    with pytest.raises(ValueError, match=f"max_macs must be >= {least}, .* at 128x96, got {least - 1}"):
        rules(max_macs=least - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"population": 0}, "population must be >= 1, got 0"),
        ({"parents": 0}, "parents must be >= 1, got 0"),
        ({"mutation": 0.0}, r"mutation must be in \(0, 1\], got 0\.0"),
        ({"mutation": 1.5}, r"mutation must be in \(0, 1\], got 1\.5"),
    ],
)
def test_impossible_rules_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules(**change)


def test_children_come_from_the_best_alone() -> None:
    """Without luck in mutation, a child of two parents has no value that neither of them has."""
    known = evolved(rules(population=40), 1)
    a, b = (each.subnet for each in ranked(known)[:2])
    few = rules(parents=2, mutation=1e-12, population=10)
    children = breed(few, 1, known=known)
    assert children
    for child in children:
        assert all(x in (y, z) for x, y, z in zip(child.depths, a.depths, b.depths, strict=True))
        assert all(x in (y, z) for x, y, z in zip(child.widths, a.widths, b.widths, strict=True))
        assert child.neck in (a.neck, b.neck)


def test_evolution_finds_better_subnets_than_as_many_draws() -> None:
    """In the made-up world, over ten seeds, under a bound that makes the slots compete."""
    wins = 0
    for seed in range(10):
        bounded = rules(seed=seed, max_macs=middle(0.3), population=8)
        best = ranked(evolved(bounded, 5))[0]
        drawn = [
            record(each, bounded)
            for each in breed(rules(seed=seed, max_macs=middle(0.3), population=40), 0, known=())
        ]
        wins += best.order < ranked(drawn)[0].order
    assert wins >= 8


def test_of_equal_aps_the_cheaper_subnet_leads() -> None:
    small, large = (
        SubnetRecord(subnet, {"128x96": 0.5}, {"128x96": cost(subnet, FRAMES[0])}, 1)
        for subnet in (SPACE.smallest, SPACE.largest)
    )
    assert ranked([large, small]) == (small, large)
