"""Whatever cuts a search off, wherever: gone on with, it is the search that was never cut off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jdn_core.faults import Action, Point
from tests.crash.case import Case, Outcome
from tests.crash.fork_server import ForkServer

pytestmark = pytest.mark.timeout(600)

EPOCH = 2  # steps of an epoch, which is what lies between two checkpoints
ENDS = {Action.KILL9: -9, Action.SIGTERM: 143, Action.RAISE: 70, Action.ENOSPC: 74, Action.EIO: 74}
# Beside the search, in MLflow's thread, a failure is told and tried again; it ends nothing.
BESIDE = ("mlflow", "durable")
STARTS = {"base": ("fresh",), "pool": ("base",), "resume": ("fresh", "pair")}


def cases_of(point: Point, reached: dict[str, dict[str, int]]) -> Iterator[Case]:
    """Up to three hits with every action; the first pair, whose way is longer, meets two."""
    here = point.partition(".")[0]
    for start in STARTS.get(here, ("pool", "pair")):
        for hit in range(1, 1 + min(1 if start == "pool" else 3, reached[start][point])):
            disk = Action.ENOSPC if hit % 2 else Action.EIO
            for what in (Action.KILL9, Action.SIGTERM, Action.RAISE, disk)[: 2 if start == "pool" else 4]:
                yield Case(start, f"{point}:{hit}:{what}", until=_until(start, hit, what))


def _until(start: str, hit: int, what: Action) -> str:
    """First kills are followed to the search's end, the others to that of the stage; the rest is the same."""
    if start in ("fresh", "base") and (hit, what) != (1, Action.KILL9):
        return {"fresh": "base", "base": "pool"}[start]
    return "pair" if start == "pool" else ""


class Suite:
    """Plays each point's cases once."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self._outcomes: dict[Point, list[Outcome]] = {}

    def outcomes(self, point: Point) -> list[Outcome]:
        if point not in self._outcomes:
            self._outcomes[point] = self._server.play([*cases_of(point, self._server.reached)])
        return self._outcomes[point]

    def redone(self, outcome: Outcome) -> int:
        """Steps of training beyond those that the same way takes without a fault."""
        reached, case = self._server.reached, outcome.case
        rest = reached[case.until]["steps"] if case.until else 0
        return outcome.steps - (reached[case.start]["steps"] - rest)


@pytest.fixture(scope="module")
def suite(server: ForkServer) -> Suite:
    return Suite(server)


def test_an_uninterrupted_search_reaches_every_point(server: ForkServer) -> None:
    assert [point for point in Point if not server.reached["fresh"][point]] == []


@pytest.mark.parametrize("point", Point)
def test_a_fault_leaves_no_trace(suite: Suite, point: Point) -> None:
    outcomes = suite.outcomes(point)
    assert len(outcomes) >= 4
    for outcome in outcomes:
        case, (first, last) = outcome.case, outcome.codes
        assert outcome.fired == 1, outcome
        assert first == ENDS[action(case)] or (first == 0 and may_go_on(case)), f"{outcome}\n{outcome.text}"
        assert last == 0, f"{outcome}\n{outcome.text}"
        assert outcome.differences == (), f"{outcome}\n{outcome.text}"
        assert suite.redone(outcome) <= EPOCH, outcome


def may_go_on(case: Case) -> bool:
    """A full disk ends nothing where nothing more is written, and MLflow's failures never do."""
    return room(case) in BESIDE or action(case) in (Action.ENOSPC, Action.EIO)
