"""Whatever cuts a search off, wherever: gone on with, it is the search that was never cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from jdn_core.faults import Action, Point
from tests.crash.case import STAGES, Case, Outcome
from tests.crash.fork_server import ForkServer

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

EPOCH = 2  # steps, which is what lies between two checkpoints
GRACE = 15.0  # seconds from SIGTERM to the end
ENDS = {Action.KILL9: -9, Action.SIGTERM: 143, Action.RAISE: 70, Action.ENOSPC: 74, Action.EIO: 74}
DISK = (Action.ENOSPC, Action.EIO)
BESIDE = ("mlflow", "durable")  # MLflow's thread goes there, whose failures are told and tried again
STARTS = {
    "base": ["fresh"],
    "pool": ["base"],
    "resume": ["fresh", "pair"],
    "mlflow.search_created": ["fresh"],
    "control": ["pairs"],
    "holdout": ["pairs"],
    "search.finish": ["pairs"],
    "finetune": ["end"],
    "mlflow": ["pair"],
    "durable": ["pair"],
}
RESUMES = ("resume.opened:1", "resume.cleaned:1", "durable.rename:2", "mlflow.search_done:1")
TWICE = [
    Case("pair", f"{point}:1:{first}", again=f"{resume}:{second}")
    for point in ("bn.mid", "pair.mid_epoch", "commit.record", "commit.done")
    for resume, first, second in zip(RESUMES, ("kill9", "sigterm") * 2, ("kill9", "raise") * 2, strict=True)
]


def cases_of(point: Point, reached: dict[str, dict[str, int]]) -> Iterator[Case]:
    """Two hits in a stage with every action, a third is a kill; the first pair, a longer way, is killed once.

    A first kill is followed to the search's end, the others to that of the stage, as all is the same then.
    """
    room = point.partition(".")[0]
    for start in STARTS.get(point) or STARTS.get(room) or ["pool", "pair"]:
        until = STAGES[STAGES.index(start) + 1]
        for hit in range(1, 1 + min(1 if start == "pool" else 3, reached[until][point])):
            far = "end" if start not in ("pool", "end") and hit == 1 else until
            yield Case(start, f"{point}:{hit}:kill9", until=far)
            for action in (
                () if start == "pool" or hit == 3 else (Action.SIGTERM, Action.RAISE, DISK[hit - 1])
            ):
                yield Case(start, f"{point}:{hit}:{action}", until=until)


class Suite:
    """Plays each batch of cases once."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self._outcomes: dict[str, list[Outcome]] = {}

    def outcomes(self, point: Point) -> list[Outcome]:
        return self._play(point, [*cases_of(point, self._server.reached)])

    def outcomes_of_two_faults(self) -> list[Outcome]:
        return self._play("twice", TWICE)

    def redone(self, outcome: Outcome) -> int:
        """Steps of training beyond those that the same way takes without a fault."""
        way = STAGES[STAGES.index(outcome.case.start) + 1 : STAGES.index(outcome.case.until) + 1]
        return outcome.steps - sum(self._server.reached[stage]["steps"] for stage in way)

    def _play(self, name: str, cases: list[Case]) -> list[Outcome]:
        if name not in self._outcomes:
            self._outcomes[name] = self._server.play(cases)
        return self._outcomes[name]


@pytest.fixture(scope="module")
def suite(server: ForkServer) -> Suite:
    return Suite(server)


def test_an_uninterrupted_search_reaches_every_point(server: ForkServer) -> None:
    assert [point for point in Point if not server.reached["whole"][point]] == []


@pytest.mark.parametrize("point", Point)
def test_a_fault_leaves_no_trace(suite: Suite, point: Point) -> None:
    outcomes = suite.outcomes(point)
    assert len(outcomes) >= 4
    for outcome in outcomes:
        case, (first, last) = outcome.case, outcome.codes
        assert outcome.fired == 1, told(outcome)
        assert first == ENDS[case.action] or (first == 0 and may_go_on(case)), told(outcome)
        assert (last, outcome.differences) == (0, ()), told(outcome)
        assert suite.redone(outcome) <= EPOCH, told(outcome)


def may_go_on(case: Case) -> bool:
    """A full disk ends nothing where nothing more is written, and MLflow's failures never do."""
    return case.action in DISK or (case.room in BESIDE and case.action is not Action.KILL9)


@pytest.mark.parametrize("room", ["base", "pool", "pair", "control", "finetune"])
def test_sigterm_is_heard_in_time_and_nothing_is_redone(suite: Suite, room: str) -> None:
    points = [Point(f"{room}.{place}") for place in ("mid_epoch", "epoch_end", "checkpointed")]
    stopped = [o for point in points for o in suite.outcomes(point) if o.case.action is Action.SIGTERM]
    assert len(stopped) >= 4
    for outcome in stopped:
        assert outcome.seconds[0] < GRACE, told(outcome)
        assert suite.redone(outcome) == 0, told(outcome)


@pytest.mark.parametrize("point", ["durable.write", "durable.fsync", "durable.rename", "durable.folder"])
def test_a_disk_that_fails_is_told_with_its_file_and_its_room(suite: Suite, point: str) -> None:
    full = [o for o in suite.outcomes(Point(point)) if o.case.action in DISK and o.codes[0] == 74]
    assert full
    for outcome in full:
        why = {
            Action.ENOSPC: r"No space left on device: needed \d+ bytes, free \d+",
            Action.EIO: "Input/output error",
        }
        assert re.search(rf"ERROR 74 /\S+: {why[outcome.case.action]}\n", outcome.text), told(outcome)


def test_a_second_fault_while_a_search_is_taken_up_leaves_no_trace_either(suite: Suite) -> None:
    for outcome in suite.outcomes_of_two_faults():
        assert outcome.fired == 2, told(outcome)
        assert (outcome.codes[-1], outcome.differences) == (0, ()), told(outcome)
        assert suite.redone(outcome) <= 2 * EPOCH, told(outcome)


def test_more_than_300_faults_at_30_points_fired_and_every_search_is_the_same(suite: Suite) -> None:
    outcomes = [outcome for point in Point for outcome in suite.outcomes(point)]
    outcomes += suite.outcomes_of_two_faults()
    different = [outcome for outcome in outcomes if outcome.differences]
    points = {outcome.case.point for outcome in outcomes if outcome.fired}
    assert (sum(outcome.fired for outcome in outcomes) > 300, len(points) >= 30, different) == (
        True,
        True,
        [],
    )


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
def test_with_a_rule_switched_off_the_suite_is_red(
    server: ForkServer, rule: str, start: str, fault: str
) -> None:
    """The same cases are green with the rule, in ``test_a_fault_leaves_no_trace``."""
    (outcome,) = server.play([Case(start, fault, without=rule)])
    assert outcome.fired == 1, told(outcome)
    assert outcome.codes[-1] or outcome.differences, told(outcome)


def told(outcome: Outcome) -> str:
    return f"{outcome}\n{outcome.text}"
