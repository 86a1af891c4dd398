"""Draws that stay the same in every Python.

They are built on ``random()`` alone, the one method whose sequence is promised.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import TypeVar

T = TypeVar("T")


def pick(rng: Random, options: Sequence[T]) -> T:
    """Returns one of ``options``, uniformly."""
    return options[int(rng.random() * len(options))]


def pick_weighted(rng: Random, options: Sequence[T], weights: Sequence[float]) -> T:
    """Returns one of ``options``; the chance of each is proportional to its weight, > 0."""
    sums = list(accumulate(weights))
    return options[min(bisect(sums, rng.random() * sums[-1]), len(options) - 1)]


def pick_by_rank(rng: Random, options: Sequence[T]) -> T:
    """Draws one of ``options``, best first: the chance of each is proportional to 1 / rank (ours)."""
    return pick_weighted(rng, options, [1 / rank for rank in range(1, len(options) + 1)])
