"""Whatever happens to its process and to either copy, a search has the records of one nothing happened to."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair, PairRecord
from jdn_core.search.records import RECORD_FILE, Records
from jdn_core.storage import durable
from jdn_core.storage.canonical import content_key
from tests import results
from tests.jdn_core.search.worlds import MEMORY, evaluate, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MOST, WORKERS, LOOKBACK = 5, 3, 3
FAILING = frozenset({3})
WEIGHTS = "weights.safetensors"
WHICH = st.integers(0, MOST)


def reference() -> list[PairRecord]:
    """The records of the same search with one worker and no accident."""
    rules, base = start(lookback=LOOKBACK)
    climber, records = HillClimber(rules, [base]), [base]
    while len(records) <= MOST:
        pair = climber.ask()
        assert pair is not None
        records.append(evaluate(pair, failing=FAILING))
        climber.tell(records[-1])
    return records


REFERENCE = reference()
KEYS = [record.pair.key for record in REFERENCE]
DIGESTS = [results.digest_of(record) for record in REFERENCE]


def commit(records: Records, record: PairRecord) -> bool:
    staged = records.staging(record.pair.key)
    durable.write_bytes(staged / WEIGHTS, record.pair.key.encode())
    return records.commit(record, staged)


def copy(source: Records, target: Records) -> None:
    """What one copy has and the other one misses is committed there, as the tracker does it."""
    for record in source.all():
        if target.get(record.pair.key) is None:
            staged = target.staging(record.pair.key)
            shutil.copy(source.path(record.pair.key) / WEIGHTS, staged)
            assert target.commit(record, staged)


def flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    file.write_bytes(data)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._scratch = tempfile.TemporaryDirectory(dir=MEMORY)
        self.folder = Path(self._scratch.name)
        self.clock = 1.8e9

    @initialize()
    def begin(self) -> None:
        self.climb_rules, _ = start(lookback=LOOKBACK)
        self.resume()

    @precondition(lambda self: self.climber.ready and len(self.climber.pending) < WORKERS)
    @precondition(lambda self: self.climber.next_index <= MOST)
    @rule()
    def ask(self) -> None:
        pair = self.climber.ask()
        assert pair is not None
        assert pair == REFERENCE[pair.index].pair

    @precondition(lambda self: self.climber.pending)
    @rule(which=st.integers(0, WORKERS - 1))
    def finish(self, which: int) -> None:
        pair = self.climber.pending[which % len(self.climber.pending)]
        record = self.evaluated(pair)
        assert commit(self.here, record)
        self.climber.tell(record)

    @rule(which=WHICH)
    def finish_again_too_late(self, which: int) -> None:
        first = self.known(which)
        assert not commit(self.here, PairRecord(first.pair, "failed", reason="late"))
        assert Records(self.folder / "here").get(first.pair.key) == first

    @rule()
    def publish(self) -> None:
        copy(self.here, self.there)

    @rule(which=WHICH)
    def publish_again_with_another_outcome(self, which: int) -> None:
        first = self.known(which)
        if self.there.get(first.pair.key):
            assert not commit(self.there, PairRecord(first.pair, "failed", reason="of a ghost"))

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.clock += seconds

    @rule(which=WHICH, written=st.sampled_from(["", WEIGHTS, RECORD_FILE]), there=st.booleans())
    def die_before_a_commit(self, which: int, written: str, there: bool) -> None:
        """With an empty, a half filled or a filled folder, or one whose last file is half written."""
        staged = (self.there if there else self.here).staging(KEYS[which])
        if written:
            durable.write_bytes(staged / written, b"{}")
        (staged / f".{RECORD_FILE}.0123abcd.tmp").write_bytes(b'{"evaluation"')
        self.resume()

    @precondition(lambda self: self.climber.pending)
    @rule()
    def die_between_commit_and_tell(self) -> None:
        assert commit(self.here, self.evaluated(self.climber.pending[0]))
        self.resume()

    @rule(which=WHICH, there=st.booleans())
    def lose_a_record(self, which: int, there: bool) -> None:
        lost = (self.there if there else self.here).path(KEYS[which])
        shutil.rmtree(lost, ignore_errors=True)
        self.resume()

    @rule(which=WHICH, bit=st.integers(0, 1 << 20), there=st.booleans())
    def a_bit_flips(self, which: int, bit: int, there: bool) -> None:
        copy = self.there if there else self.here
        key = self.known(which).pair.key
        if copy.get(key):
            flip(copy.path(key) / RECORD_FILE, bit)
            assert f"pairs/{key}" in [problem.file for problem in copy.problems()]
            self.resume()

    @rule(there=st.booleans())
    def lose_a_copy(self, there: bool) -> None:
        shutil.rmtree(self.folder / ("there" if there else "here"), ignore_errors=True)
        self.resume()

    @rule()
    def resume(self) -> None:
        """As a start does: sweeps, fetches, publishes, evaluates the base where it is missing."""
        (self.folder / "here").mkdir(exist_ok=True)
        durable.clean_leftovers(self.folder)
        self.here, self.there = Records(self.folder / "here"), Records(self.folder / "there")
        copy(self.there, self.here)
        copy(self.here, self.there)
        if self.here.get(KEYS[0]) is None:
            assert commit(self.here, self.evaluated(REFERENCE[0].pair))
        self.climber = HillClimber(self.climb_rules, self.here.all())
        assert not list(self.folder.rglob(".*.tmp"))
        assert results.digest(self.here) == content_key(
            [DIGESTS[record.pair.index] for record in self.here.all()]
        )

    @invariant()
    def no_pair_is_there_twice_or_is_another_than_the_references(self) -> None:
        if hasattr(self, "climber"):
            for records in (self.here, self.there):
                indices = [record.pair.index for record in records.all()]
                assert len(indices) == len({*indices})
                assert [record.pair.key for record in records.all()] == [KEYS[index] for index in indices]

    def teardown(self) -> None:
        """Then nothing happens any more, and the search ends where the reference did."""
        if hasattr(self, "climber"):
            self.resume()
            while self.climber.next_index <= MOST:
                pair = self.climber.ask()
                assert pair is not None
                assert commit(self.here, self.evaluated(pair))
                self.climber.tell(self.evaluated(pair))
            self.resume()
            assert results.digest(self.here) == results.digest(self.there) == content_key(DIGESTS)
            assert not results.problems(self.here) + results.problems(self.there)
        self._scratch.cleanup()

    def known(self, which: int) -> PairRecord:
        records = self.here.all()
        return records[which % len(records)]

    def evaluated(self, pair: Pair) -> PairRecord:
        """What the reference found, at another time of the clock."""
        record = REFERENCE[pair.index]
        if record.evaluation is None:
            return record
        timing = replace(record.evaluation.timing, finished=self.clock)
        return replace(record, evaluation=replace(record.evaluation, timing=timing))


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=500, stateful_step_count=10)
