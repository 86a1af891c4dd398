"""Draws that stay the same in every Python.

They are built on ``random()`` alone, the one method whose sequence is promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of ``options``, uniformly."""
    return options[int(rng.random() * len(options))]


def pick_by_rank(rng: Random, options: Sequence[T]) -> T:
    """One of ``options``, the first being the best: the chance of each is proportional to 1 / rank (ours)."""
    mark = rng.random() * sum(1 / rank for rank in range(1, len(options) + 1))
    for rank, option in enumerate(options, start=1):
        mark -= 1 / rank
        if mark < 0:
            return option
    return options[-1]
