"""Hill climbing over student-teacher pairs: which pair to try next (paper, section 3.1.4 and algorithm 1).

A proposal is a pure function of the rules, its index, the pairs before it and the results that are old
enough, so neither the number of workers nor the order in which they finish can change a search (RELIABILITY,
rule 3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from itertools import chain, islice
from random import Random
from typing import Literal, NamedTuple, assert_never

from jdn_core.search.pairs import BASE_ACTION, Pair, PairRecord
from jdn_core.search.standing import Graded, Standing
from jdn_core.settings.search import ScoreSettings, SearchSettings
from jdn_core.space.actions import AddLayer, NarrowHeads, Rearrange, apply, key, kind, legal, parse
from jdn_core.space.architecture import BackboneSpec, DetectorSpec
from jdn_core.space.chance import pick, pick_by_rank, pick_weighted
from jdn_core.space.teachers import SubnetSpace, SubnetSpec
from jdn_core.storage.canonical import content_key

Side = Literal["student", "teacher"]
_TEACHER: tuple[Side, ...] = ("teacher",)
_BOTH: tuple[Side, ...] = ("student", "teacher")
_Neighbour = tuple[DetectorSpec, SubnetSpec]
_Changes = dict[Side, dict[str, list["_Change"]]]


@dataclass(frozen=True)
class ClimbRules:
    """Everything but the results that decides the proposals.

    Attributes:
        name: of the search.
        seed: of every draw.
        score: what ranks the pairs.
        space: the teachers.
        search: who may be a parent, and how a change is drawn.
    """

    name: str
    seed: int
    score: ScoreSettings
    space: SubnetSpace
    search: SearchSettings

    def horizon(self, index: int) -> int:
        """Returns the last pair whose result proposal ``index`` knows; the base's is always known."""
        return max(0, index - self.search.effective_lookback)


def first_pair(rules: ClimbRules, student: DetectorSpec) -> Pair:
    """Returns pair 0: the base with the super-network, whose record holds the base's own evaluation."""
    return Pair(rules.name, 0, rules.seed, None, BASE_ACTION, student, rules.space.largest)


class HillClimber:
    """Asks for pairs and is told their records; all of its state follows from the records.

    A parent is drawn among the best pairs with weights 1 / rank. Then either its student evolves by one
    action or its teacher changes in one slot, drawn as ``search.draw`` says: every change of the side that
    has its turn is as likely, or the kind of the change is drawn first, so that a short search sees every
    action, or the kinds by their success so far (ours). Pairs equal to an earlier one in student and teacher
    are not proposed (ours): the draw is among the others, and goes on to the next best pairs where the best
    have none left. Failed pairs are no parents.

    Args:
        rules: of the search.
        records: what is known at the start, pair 0 among it; gaps are proposed again, and equal what they
            were.

    Raises:
        ValueError: pair 0 is missing, or two records have one index.
    """

    def __init__(self, rules: ClimbRules, records: Iterable[PairRecord]) -> None:
        self._rules = rules
        self._records: dict[int, PairRecord] = {}
        for record in records:
            if record.pair.index in self._records:
                raise ValueError(f"the records hold two pairs of index {record.pair.index}")
            self._records[record.pair.index] = record
        if 0 not in self._records:
            raise ValueError("the records must hold pair 0, the base")
        self._pending: dict[int, Pair] = {}
        # What a proposal needs grows with the index, so it is kept and added to: a search of n pairs takes n
        # steps, not n * n.
        self._tried: set[_Neighbour] = set()  # the pairs 0 .. _next - 1
        self._known = Standing(rules.score)  # the results that the last proposal knew
        self._successes = _Successes()  # among them
        self._next = self._told = 0
        self._advance()

    @property
    def next_index(self) -> int:
        """Number of the pair that ``ask`` would give."""
        return self._next

    @property
    def pending(self) -> tuple[Pair, ...]:
        """Returns what was asked for and not told, by index."""
        return tuple(self._pending.values())

    @property
    def ready(self) -> bool:
        """Returns whether every result that the next proposal needs was told."""
        return self._told > self._rules.horizon(self._next)

    def ask(self) -> Pair | None:
        """Returns the next pair to evaluate, or none where nothing new is left to try.

        Raises:
            RuntimeError: the proposal needs a result that was not told yet.
        """
        index, horizon = self._next, self._rules.horizon(self._next)
        if not self.ready:
            missing = [i for i in range(horizon + 1) if i not in self._records]
            raise RuntimeError(f"ask() for pair {index} needs the results of {missing}; {self._waiting()}")
        for known in range(len(self._known), horizon + 1):
            graded = self._known.add(self._records[known])
            if (parent := graded.record.pair.parent) is not None:
                self._successes.add(graded, self._known.graded(parent))
        pair = _choose(index, self._known, self._tried, self._rules, self._successes)
        if pair is not None:
            self._pending[index] = pair
            self._advance()
        return pair

    def tell(self, record: PairRecord) -> None:
        """Takes the record of a pending pair.

        Raises:
            RuntimeError: the pair is not pending, or another one than was asked for.
        """
        index = record.pair.index
        if index not in self._pending:
            raise RuntimeError(f"tell() for unknown pair {index}; {self._waiting()}")
        if record.pair != self._pending[index]:
            raise RuntimeError(f"tell() for another pair {index} than was asked for; {self._waiting()}")
        self._records[index] = record
        del self._pending[index]
        self._advance()

    def _advance(self) -> None:
        """Moves on to the first pair that was neither asked for nor told, and to the first not told."""
        while self._told in self._records:
            self._told += 1
        while pair := self._pair(self._next):
            self._tried.add((pair.student, pair.teacher))
            self._next += 1

    def _pair(self, index: int) -> Pair | None:
        record = self._records.get(index)
        return record.pair if record else self._pending.get(index)

    def _waiting(self) -> str:
        return f"pending: {list(self._pending)}"


class _Change(NamedTuple):
    action: str
    student: DetectorSpec
    teacher: SubnetSpec


class _Successes:
    """How often each kind of change led to a pair that is better than its parent."""

    def __init__(self) -> None:
        self._tries: Counter[str] = Counter()
        self._wins: Counter[str] = Counter()

    def add(self, child: Graded, parent: Graded) -> None:
        """Counts a pair; one that failed is no success."""
        name = _kind(child.record.pair.action)
        assert parent.grade is not None  # failed pairs are no parents
        self._tries[name] += 1
        self._wins[name] += child.grade is not None and child.grade.order < parent.grade.order

    def rate(self, name: str) -> float:
        """Returns the chance of success by Laplace's rule: a half where nothing is known, never 0."""
        return (self._wins[name] + 1) / (self._tries[name] + 2)


def _choose(
    index: int, known: Standing, tried: Set[_Neighbour], rules: ClimbRules, successes: _Successes
) -> Pair | None:
    """Returns the proposal, out of the results that it may know and of what was tried before it."""
    _ = known.base  # refuses a search whose pair 0 failed
    rng = Random(content_key([rules.seed, "propose", index]))
    frozen = index <= rules.search.frozen_student_iterations
    # A pool of one teacher has nothing to mutate; the student's turn then comes early.
    for sides in [_TEACHER, _BOTH] if frozen else [_BOTH]:
        for parent in _parents(rng, known, rules.search):
            if change := _draw(rng, _untried(parent, sides, tried, rules), rules, successes):
                return Pair(rules.name, index, rules.seed, parent.pair.key, *change)
    return None


def _parents(rng: Random, known: Standing, rules: SearchSettings) -> Iterator[PairRecord]:
    """All evaluated pairs: the best drawn by rank without repeats, then the others; or in any order."""
    any_of_them = rules.parents == "any"
    ranked = (graded.record for graded in known.ranked())
    top = list(islice(ranked, None if any_of_them else rules.top_k))
    while top:
        parent = pick(rng, top) if any_of_them else pick_by_rank(rng, top)
        top.remove(parent)
        yield parent
    yield from ranked


def _draw(rng: Random, changes: _Changes, rules: ClimbRules, successes: _Successes) -> _Change | None:
    """Returns one change: the side first, then one of its changes; a side without changes leaves its turn."""
    sides = [side for side in _BOTH if changes[side]]
    if not sides:
        return None
    side = sides[0]
    if len(sides) == 2 and rng.random() >= rules.search.student_probability:
        side = "teacher"
    kinds = list(changes[side].values())
    match rules.search.draw:
        case "instance":
            return pick(rng, list(chain(*kinds)))
        case "kind":
            return pick(rng, pick(rng, kinds))
        case "success":
            return pick(rng, pick_weighted(rng, kinds, list(map(successes.rate, changes[side]))))
        case _:
            assert_never(rules.search.draw)


def _untried(
    parent: PairRecord, sides: tuple[Side, ...], tried: Set[_Neighbour], rules: ClimbRules
) -> _Changes:
    """Per side and kind the changes of a parent that lead to pairs that are not among the tried ones."""
    every = {"student": _student_changes, "teacher": _teacher_changes}
    changes: _Changes = {"student": {}, "teacher": {}}
    for side in sides:
        for name, change in every[side](parent, rules):
            if (change.student, change.teacher) not in tried:
                changes[side].setdefault(name, []).append(change)
    return changes


def _student_changes(parent: PairRecord, rules: ClimbRules) -> Iterator[tuple[str, _Change]]:
    """(kind, change) of every legal action; where weights decide, as the parent's evaluation foresaw."""
    pair, evaluation, search = parent.pair, parent.evaluation, rules.search
    prunings = evaluation.prunings if evaluation else {}
    options = legal(pair.student, prune_shares=search.prune_shares, narrow_shares=search.narrow_shares)
    for action in options:
        name = key(action)
        if isinstance(action, AddLayer | Rearrange | NarrowHeads):
            student = apply(pair.student, action)
        elif name in prunings:
            student = replace(pair.student, backbone=BackboneSpec.unpack(prunings[name]))
        else:
            continue
        yield _kind(name), _Change(name, student, pair.teacher)


def _teacher_changes(parent: PairRecord, rules: ClimbRules) -> Iterator[tuple[str, _Change]]:
    """(slot, change) of every mutation."""
    for name, teacher in rules.space.mutations(parent.pair.teacher):
        yield _kind(name), _Change(name, parent.pair.student, teacher)


def _kind(action: str) -> str:
    """Returns the kind of a student's action, or the slot of a teacher's mutation as ``teacher:neck``."""
    return action.rpartition(":")[0] if action.startswith("teacher:") else kind(parse(action))
