"""The proposals of a few small searches, written down: a change of the code must not change them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair
from jdn_core.space.notation import format_backbone
from tests.jdn_core.search.worlds import evaluate, start


def proposals(**changes: Any) -> list[tuple[int, str, Pair]]:
    """(index of the parent, action, pair) of thirty proposals, of which the fourth fails."""
    rules, base = start(**changes)
    climber, index_of, found = HillClimber(rules, [base]), {base.pair.key: 0}, []
    for index in range(1, 31):
        pair = climber.ask()
        assert pair is not None
        index_of[pair.key] = index
        found.append((index_of[str(pair.parent)], pair.action, pair))
        climber.tell(evaluate(pair, failing=frozenset({4})))
    return found


@pytest.mark.parametrize(
    ("changes", "first", "every"),
    [
        pytest.param(
            {},
            [
                (0, "teacher:neck:1"),
                (1, "teacher:width:3:1"),
                (2, "rearrange:3:first"),
                (1, "rearrange:2:first"),
                (2, "rearrange:2:first"),
                (3, "teacher:width:2:1"),
                (1, "teacher:depth:4:1"),
                (3, "add_layer:2"),
            ],
            "087d7f8970295f86bf3d8d5fa0f4d103e7e8afe5741caf8e6a6e6fe3a633daae",
            id="every change as likely",
        ),
        pytest.param(
            {"draw": "kind", "seed": 3, "top_k": 2},
            [
                (0, "teacher:depth:4:1"),
                (0, "teacher:width:4:1"),
                (2, "prune_channels:0.05"),
                (0, "rearrange:3:first"),
                (0, "teacher:width:3:1"),
                (5, "teacher:depth:2:1"),
                (2, "rearrange:3:last"),
                (7, "teacher:depth:3:2"),
            ],
            "79ad8f0f902d9ce4e5f550a998acf0843aab111ec4a76d80db91f826e810d45e",
            id="every kind as likely",
        ),
    ],
)
def test_the_same_seed_gives_the_proposals_that_it_always_gave(
    changes: dict[str, Any], first: list[tuple[int, str]], every: str
) -> None:
    found = proposals(**changes)
    assert [(parent, action) for parent, action, _ in found[:8]] == first
    lines = [
        f"{parent} {action} {format_backbone(pair.student.backbone)} {pair.teacher}"
        for parent, action, pair in found
    ]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == every
