"""What the figures say, before anything is drawn: rows and records in, NamedTuples out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from statistics import fmean
from typing import NamedTuple

from jdn_core.evaluation.complexity import complexity
from jdn_core.reports.tables import Candidate, undominated
from jdn_core.search.pairs import BASE_ACTION, PairRecord
from jdn_core.space.architecture import DetectorSpec, Resolution

GIGA = 1e9
PARTS = ("stem", "stage 1", "stage 2", "stage 3", "stage 4", "neck", "RPN", "box head")


class ScoreHistory(NamedTuple):
    """H of the pairs, by index; ``best`` is the highest so far, ``base`` that of the input detector.

    Pairs without a score are left out.
    """

    pairs: tuple[int, ...]
    score: tuple[float, ...]
    best: tuple[float, ...]
    base: float | None


class Point(NamedTuple):
    """One student at one resolution: whole detector's GMACs, AP as a fraction."""

    pair: int
    resolution: str
    gmacs: float
    ap: float


class ParetoFront(NamedTuple):
    """Every student at every resolution; ``front`` are those that no other beats in both, cheapest first."""

    points: tuple[Point, ...]
    front: tuple[Point, ...]
    base: Point
    best: Point


class Step(NamedTuple):
    """One proposal against its parent; ``gain`` is the difference of H, None where one of them has none."""

    pair: int
    kind: str
    state: str
    gain: float | None


class ActionGain(NamedTuple):
    """How one kind of action fared; ``mean_gain`` and ``best_gain`` are differences of H to the parent's."""

    kind: str
    tried: int
    raised: int
    failed: int
    mean_gain: float | None
    best_gain: float | None


class Bar(NamedTuple):
    """Multiply-accumulates of one detector by part, in GMACs."""

    label: str
    gmacs: tuple[float, ...]


class StageComputation(NamedTuple):
    """Where the computation is, before and after: ``parts`` names the entries of every bar."""

    parts: tuple[str, ...]
    bars: tuple[Bar, ...]


class Ancestor(NamedTuple):
    """One pair on the way to the winner.

    Attributes:
        candidate: its row.
        gain: its H minus its parent's; none for the first, as all changes are.
        points: its AP minus its parent's, in points.
        saved: share of its parent's MACs that it has not; negative where it costs more.
        rank: among all pairs up to it, by H.
        others: how many other pairs were made of it.
    """

    candidate: Candidate
    gain: float | None
    points: float | None
    saved: float | None
    rank: int
    others: int


class LossCurves(NamedTuple):
    """Mean loss per epoch of one training, by name, first epoch first."""

    title: str
    losses: dict[str, tuple[float, ...]]


class Costs(NamedTuple):
    """Training time in seconds: of every evaluated pair, and of all so far."""

    pairs: tuple[int, ...]
    seconds: tuple[float, ...]
    total: tuple[float, ...]


NOTHING_SPENT = Costs((), (), ())


def action_kind(action: str) -> str:
    """Returns ``prune channels`` of ``prune_channels:0.05``, ``teacher depth`` of ``teacher:depth:3:12``."""
    kind, _, rest = action.partition(":")
    return f"teacher {rest.partition(':')[0]}" if kind == "teacher" else kind.replace("_", " ")


def action_text(action: str) -> str:
    """Puts an action's key in words: ``rearrange: last block of stage 2`` for ``rearrange:2:last``."""
    match action.split(":"):
        case ["prune_channels", share]:
            return f"prune {100 * float(share):g} % of the channels"
        case ["narrow_heads", share]:
            return f"narrow neck and heads by {100 * float(share):g} %"
        case ["add_layer", stage]:
            return f"add a layer to stage {stage}"
        case ["rearrange", stage, end]:
            return f"rearrange: {end} block of stage {stage}"
        case ["teacher", slot, stage, value]:
            return f"teacher: {slot} of stage {stage} to {value}"
        case ["teacher", slot, value]:
            return f"teacher: {slot} to {value}"
    return action.replace("_", " ")


def score_history(rows: Sequence[Candidate], *, base: Candidate) -> ScoreHistory:
    """Returns H of every scored pair by index, with the running best; empty for no rows."""
    scored = sorted((row.index, row.score) for row in rows if row.score is not None)
    scores = tuple(score for _, score in scored)
    return ScoreHistory(
        tuple(index for index, _ in scored), scores, tuple(accumulate(scores, max)), base.score
    )


def pareto_front(rows: Sequence[Candidate], *, base: Candidate, best: Candidate) -> ParetoFront:
    """Returns every pair at every resolution as a point, and those that no other beats in AP and MACs."""
    points = tuple(
        Point(row.index, resolution, row.macs_by_resolution[resolution] / GIGA, ap)
        for row in rows
        for resolution, ap in row.ap_by_resolution.items()
    )
    by_pair = sorted(points, key=lambda point: point.pair)
    front = undominated(by_pair, lambda point: (point.gmacs, point.ap))
    return ParetoFront(points, tuple(front), _point(base), _point(best))


def steps(rows: Sequence[Candidate]) -> tuple[Step, ...]:
    """Returns every proposal with what it gained on its parent; the base is no proposal."""
    scores = {row.index: row.score for row in rows}
    return tuple(
        Step(
            row.index,
            action_kind(row.action),
            row.state,
            _difference(row.score, scores.get(-1 if row.parent is None else row.parent)),
        )
        for row in rows
        if row.action != BASE_ACTION
    )


def action_gains(proposals: Sequence[Step]) -> tuple[ActionGain, ...]:
    """Counts proposals by kind of action, the kind that raised H most often first."""
    by_kind: dict[str, list[Step]] = {}
    for step in proposals:
        by_kind.setdefault(step.kind, []).append(step)
    gains = (_action_gain(kind, members) for kind, members in by_kind.items())
    return tuple(sorted(gains, key=lambda gain: (-gain.raised, gain.kind)))


def stage_computation(
    base: DetectorSpec, best: DetectorSpec, *, largest: Resolution, chosen: Resolution
) -> StageComputation:
    """Counts MACs by part: base and best student at the largest frame, and the student at its chosen one."""
    looks = [("base", base, largest), ("best", best, largest)]
    if chosen != largest:
        looks.append(("best", best, chosen))
    bars = (Bar(f"{name} at {frame}", _gmacs(spec, frame)) for name, spec, frame in looks)
    return StageComputation(PARTS, tuple(bars))


def lineage(rows: Sequence[Candidate], winner: Candidate) -> tuple[Ancestor, ...]:
    """Returns the chain of parents from the base to the winner, in that order."""
    by_index = {row.index: row for row in rows}
    chain = [winner]
    while (parent := chain[-1].parent) is not None:
        chain.append(by_index[parent])
    chain.reverse()
    on_the_way = {row.index for row in chain}
    return tuple(
        Ancestor(
            candidate=row,
            gain=_difference(row.score, before.score) if before else None,
            points=_difference(_hundred(row.ap), _hundred(before.ap)) if before else None,
            saved=1 - row.macs / before.macs if before and row.macs and before.macs else None,
            rank=1 + sum(_beats(other, row) for other in rows if other.index < row.index),
            others=sum(other.parent == row.index and other.index not in on_the_way for other in rows),
        )
        for before, row in pairwise((None, *chain))
        if row is not None
    )


def why_kept(step: Ancestor) -> str:
    """Says why a pair on the way to the winner could become a parent, or was the end."""
    before = step.candidate.index + 1
    if step.candidate.index == 0:
        return "the start"
    if step.rank == 1:
        return f"the best of {before} pairs by then"
    return f"number {step.rank} of {before} pairs by then, so among those that are changed further"


def costs(records: Sequence[PairRecord]) -> Costs:
    """Sums up the training time of evaluated pairs, by index; failed pairs have no time on record."""
    timed = sorted((r.pair.index, r.evaluation.timing.train_seconds) for r in records if r.evaluation)
    seconds = tuple(time for _, time in timed)
    return Costs(tuple(index for index, _ in timed), seconds, tuple(accumulate(seconds)))


def loss_curves(title: str, losses: Mapping[str, Sequence[float]]) -> LossCurves:
    """Puts losses per epoch, each by name, under a title."""
    return LossCurves(title, {name: tuple(values) for name, values in losses.items()})


def _point(row: Candidate) -> Point:
    if row.resolution is None or row.macs is None or row.ap is None:
        raise ValueError(f"pair {row.index} was not evaluated")
    return Point(row.index, row.resolution, row.macs / GIGA, row.ap)


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _beats(one: Candidate, other: Candidate) -> bool:
    return one.score is not None and (other.score is None or one.score > other.score)


def _difference(score: float | None, before: float | None) -> float | None:
    return None if score is None or before is None else score - before


def _action_gain(kind: str, members: Sequence[Step]) -> ActionGain:
    known = [step.gain for step in members if step.gain is not None]
    return ActionGain(
        kind,
        tried=len(members),
        raised=sum(gain > 0 for gain in known),
        failed=sum(step.state == "failed" for step in members),
        mean_gain=fmean(known) if known else None,
        best_gain=max(known, default=None),
    )


def _gmacs(spec: DetectorSpec, frame: Resolution) -> tuple[float, ...]:
    cost = complexity(spec, frame)
    parts = (cost.stem, *cost.stages, cost.neck, cost.rpn, cost.head)
    return tuple(part.macs / GIGA for part in parts)
