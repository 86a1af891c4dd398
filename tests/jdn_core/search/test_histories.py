"""Whatever happens to its process and files, a search has the records of the one nothing happened to."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jdn_core import durable
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.records import RECORD_FILE, Records
from tests.jdn_core.search.worlds import evaluate, start

MOST, WORKERS, LOOKBACK = 12, 3, 4
FAILING = frozenset({5})


def reference() -> list[Pair]:
    """The pairs of the same search with one worker and no accident."""
    rules, base = start(lookback=LOOKBACK)
    climber, pairs = HillClimber(rules, [base]), [base.pair]
    while len(pairs) <= MOST:
        pair = climber.ask()
        assert pair is not None
        pairs.append(pair)
        climber.tell(evaluate(pair, failing=FAILING))
    return pairs


REFERENCE = reference()


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self._scratch.name)

    def teardown(self) -> None:
        self._scratch.cleanup()

    def commit(self, record: PairRecord) -> bool:
        staged = self.records.staging(record.pair.key)
        durable.write_bytes(staged / "weights.safetensors", record.pair.key.encode())
        return self.records.commit(record, staged)

    @initialize()
    def begin(self) -> None:
        self.climb_rules, base = start(lookback=LOOKBACK)
        self.records = Records(self.folder)
        assert self.commit(base)
        self.climber = HillClimber(self.climb_rules, self.records.all())

    @precondition(lambda self: self.climber.ready and len(self.climber.pending) < WORKERS)
    @precondition(lambda self: self.climber.next_index <= MOST)
    @rule()
    def ask(self) -> None:
        assert self.climber.ask() == REFERENCE[self.climber.pending[-1].index]

    @precondition(lambda self: self.climber.pending)
    @rule(which=st.integers(0, WORKERS - 1))
    def finish(self, which: int) -> None:
        pair = self.climber.pending[which % len(self.climber.pending)]
        assert self.commit(evaluate(pair, failing=FAILING))
        self.climber.tell(evaluate(pair, failing=FAILING))

    @rule(which=st.integers(0, MOST))
    def finish_again_too_late(self, which: int) -> None:
        known = self.records.all()
        pair = known[which % len(known)].pair
        assert not self.commit(PairRecord(pair, "failed", reason="late"))

    @precondition(lambda self: self.climber.pending)
    @rule(written=st.sampled_from(["", "weights.safetensors", RECORD_FILE]))
    def die_before_the_commit(self, written: str) -> None:
        staged = self.records.staging(self.climber.pending[0].key)
        if written:
            durable.write_bytes(staged / written, b"{}")
        self.resume()

    @precondition(lambda self: self.climber.pending)
    @rule()
    def die_between_commit_and_tell(self) -> None:
        assert self.commit(evaluate(self.climber.pending[0], failing=FAILING))
        self.resume()

    @rule(which=st.integers(0, MOST))
    def lose_a_record_but_the_base(self, which: int) -> None:
        known = self.records.all()
        if which % len(known):
            (self.records.path(known[which % len(known)].pair.key) / RECORD_FILE).write_text("{")
            self.resume()

    @rule()
    def resume(self) -> None:
        durable.clean_leftovers(self.folder)
        self.records = Records(self.folder)
        self.climber = HillClimber(self.climb_rules, self.records.all())

    @invariant()
    def the_records_are_those_of_the_reference(self) -> None:
        if hasattr(self, "climber"):
            for record in Records(self.folder).all():
                assert record.pair == REFERENCE[record.pair.index]
                assert record.state == ("failed" if record.pair.index in FAILING else "done")
            assert not list(self.folder.rglob(".*.tmp"))


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=10, stateful_step_count=30)
