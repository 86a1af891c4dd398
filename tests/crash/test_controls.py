"""The suite would notice: with one rule switched off, searches that were cut off are no longer the same."""

from __future__ import annotations

import pytest

from tests.crash.case import Case, Outcome
from tests.crash.fork_server import ForkServer

pytestmark = pytest.mark.timeout(300)


def is_red(outcome: Outcome) -> bool:
    return bool(outcome.fired and (outcome.codes[-1] or outcome.differences))


@pytest.mark.parametrize(
    ("rule", "start", "fault"),
    [
        ("commit order", "pair", "commit.record:1:kill9"),
        ("commit order", "pair", "commit.record:1:raise"),
        ("fsync", "fresh", "base.saved:1:kill9"),
        ("fsync", "pair", "commit.done:1:kill9"),
        ("counted randomness", "fresh", "base.checkpointed:1:kill9"),
        ("counted randomness", "pair", "pair.checkpointed:1:sigterm"),
    ],
)
def test_without_a_rule_the_suite_is_red(server: ForkServer, rule: str, start: str, fault: str) -> None:
    (outcome,) = server.play([Case(start, fault, without=rule)])
    assert is_red(outcome), f"{outcome}\n{outcome.text}"
