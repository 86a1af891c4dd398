from collections import Counter
from random import Random

import pytest

from jdn_core.space.chance import pick, pick_by_rank


class _Fixed(Random):
    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


def test_every_option_has_the_same_chance() -> None:
    rng = Random("pick")
    counts = Counter(pick(rng, "abcd") for _ in range(4000))
    assert all(900 < counts[letter] < 1100 for letter in "abcd")


def test_the_chance_of_a_rank_falls_as_one_over_it() -> None:
    rng = Random("rank")
    counts = Counter(pick_by_rank(rng, "abc") for _ in range(6600))
    assert [counts[letter] / 600 for letter in "abc"] == pytest.approx([6, 3, 2], rel=0.1)


def test_the_ends_of_the_range_are_options_too() -> None:
    highest = 1 - 2**-53
    assert [pick(_Fixed(draw), "abc") for draw in (0.0, highest)] == ["a", "c"]
    assert [pick_by_rank(_Fixed(draw), "abc") for draw in (0.0, highest)] == ["a", "c"]
    assert pick_by_rank(_Fixed(1.0), "abc") == "c"


def test_the_same_seed_draws_the_same() -> None:
    draws = [[pick(rng, range(100)) for _ in range(5)] for rng in (Random("seed"), Random("seed"))]
    assert draws[0] == draws[1]
