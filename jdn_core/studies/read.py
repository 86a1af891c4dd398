"""The studies that read finished searches and train nothing (paper, Table 7; Figures 6 to 9).

Each searches' number says by how much the claim holds in it; more than 0 is for the claim. Searches count as
seeds do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from jdn_core.errors import InputMissing
from jdn_core.reports import curves, tables
from jdn_core.reports.tables import Candidate
from jdn_core.run.folder import Run
from jdn_core.search.standing import Standing
from jdn_core.space.architecture import Resolution
from jdn_core.studies import verdict
from jdn_core.studies.trainings import base_cost, pool_cost, search_cost

THIRDS = ("first", "second", "last")
DEAREST = 12.0  # base trainings that a whole search may cost (ours)


class Reading(NamedTuple):
    """What one search says: rows to show, and by how much the claim holds."""

    rows: list[dict[str, Any]]
    value: float


@dataclass(frozen=True)
class Search:
    """A finished search with its table of pairs."""

    run: Run
    standing: Standing
    rows: tuple[Candidate, ...]

    @classmethod
    def of(cls, run: Run) -> Search:
        """Reads the records of a search.

        Raises:
            InputMissing: it has no base, or no pair beside it.
        """
        records = run.records.all()
        if len(records) < 2 or records[0].evaluation is None:
            raise InputMissing(f"{run.folder}: no finished search there; it needs a base and a pair at least")
        standing = Standing(run.settings.score, records)
        return cls(run, standing, tables.candidates(standing, folder=run.folder))

    @property
    def base(self) -> Candidate:
        """Returns the base's row, at the largest resolution."""
        return tables.base_row(self.standing, folder=self.run.folder)

    @property
    def best(self) -> Candidate:
        """Returns the row of the best pair."""
        return tables.best_row(self.rows)


@dataclass(frozen=True)
class Reader:
    """A claim about searches.

    Attributes:
        name: of its command.
        label: of the paper's table or figure.
        claim: in words.
        number: what the paper reports.
        unit: of the number that says by how much the claim holds.
        read: reads one search.
    """

    name: str
    label: str
    claim: str
    number: str
    unit: str
    read: Callable[[Search], Reading]


def conclude(reader: Reader, runs: Sequence[Run]) -> dict[str, Any]:
    """Reads searches, one at least, and says what they show together.

    Raises:
        InputMissing: one of them is not finished.
    """
    readings = [reader.read(Search.of(run)) for run in runs]
    rows = [
        {"search": run.settings.name, "seed": run.settings.seed, **row}
        for run, reading in zip(runs, readings, strict=True)
        for row in reading.rows
    ]
    value, interval, said = verdict.of_searches(
        [reading.value for reading in readings], seed=runs[0].settings.seed
    )
    found = {
        "verdict": said,
        "difference": value,
        "interval": None if interval is None else list(interval),
        "seeds": len(runs),
    }
    head = {"study": reader.name, "label": reader.label, "claim": reader.claim, "paper": reader.number}
    one = {"comparison": reader.claim, "measure": reader.unit, "least": 0.0, "decides": True, **found}
    return {**head, **found, "rows": rows, "comparisons": [one]}


def _cost(search: Search) -> Reading:
    """Table 7: images x MACs and seconds of base, pool and pairs, against the base's training."""
    run, last = search.run, len(search.run.settings.pool.phases) - 1
    base, pool, pairs = base_cost(run), pool_cost(run, last), search_cost(run)
    if run.settings.pool.start == "base":
        pool = pool.without(base)
    parts = {"base": base, "pool": pool, "pairs": pairs, "all": base + pool + pairs}
    rows = [{"part": name, **cost.to_json(), "base_trainings": _times(cost.image_macs, base.image_macs)}
            for name, cost in parts.items()]  # fmt: skip
    return Reading(rows, DEAREST - _times(parts["all"].image_macs, base.image_macs))


def _times(cost: float, base: float) -> float:
    """Returns a cost in trainings of the base; of a base that came from elsewhere, nothing is known."""
    return cost / base if base else 0.0


def _actions(search: Search) -> Reading:
    """Figure 6: which actions raised H, in thirds of the search; channel pruning against all others."""
    steps, rows = curves.steps(search.rows), []
    size = -(-len(steps) // len(THIRDS))
    for number, third in enumerate(THIRDS):
        for gain in curves.action_gains(steps[number * size : (number + 1) * size]):
            rows.append({"third": third, **gain._asdict()})
    raised: dict[str, float] = {}
    for step in steps:
        if not step.kind.startswith("teacher"):
            raised[step.kind] = raised.get(step.kind, 0.0) + max(0.0, step.gain or 0.0)
    pruning = raised.pop("prune_channels", 0.0)
    return Reading(rows, pruning - max(raised.values(), default=0.0))


def _computation(search: Search) -> Reading:
    """Figure 7: the backbone's computation by stage, before and after; stage 3 against the other stages."""
    base, best = search.base, search.best
    frame = Resolution.parse(str(base.resolution))
    specs = [search.standing.graded(row.key).record.pair.student for row in (base, best)]
    found = curves.stage_computation(*specs, largest=frame, chosen=frame)
    before, after = (dict(zip(found.parts, bar.gmacs, strict=True)) for bar in found.bars)
    saved = {part: before[part] - after[part] for part in found.parts}
    rows = [
        {"part": part, "base_gmacs": before[part], "best_gmacs": after[part], "saved": gmacs}
        for part, gmacs in saved.items()
    ]
    stages = found.parts[1:5]  # behind the stem come the four stages
    third, *others = (saved[stages[number]] for number in (2, 0, 1, 3))
    return Reading(rows, (third - max(others)) / sum(before.values()))


def _progress(search: Search) -> Reading:
    """Figure 8: H of the best pair so far, whenever a pair raised it; the last against the base."""
    history = curves.score_history(search.rows, base=search.base)
    firsts = [(0, history.best[0])] if history.best else []
    for (_, before), (pair, now) in pairwise(zip(history.pairs, history.best, strict=True)):
        if now > before:
            firsts.append((pair, now))
    rows = [{"generation": number, "pair": pair, "score": h} for number, (pair, h) in enumerate(firsts)]
    return Reading(rows, firsts[-1][1] - firsts[0][1] if firsts else 0.0)


def _pareto(search: Search) -> Reading:
    """Figure 9: the front of AP over MACs; its best AP at no more MACs than the base, against the base."""
    found = curves.pareto_front(search.rows, base=search.base, best=search.best)
    rows = [point._asdict() for point in found.front]
    within = [point.ap for point in found.points if point.pair and point.gmacs <= found.base.gmacs]
    return Reading(rows, max(within, default=0.0) - found.base.ap)


READERS = (
    Reader(
        "cost",
        "T7",
        f"The whole search costs at most {DEAREST:.0f} trainings of the base.",
        "less search cost than other methods; the numbers are lost",
        "base trainings",
        _cost,
    ),
    Reader(
        "actions",
        "F6",
        "Channel pruning adds more to H than any other action on students.",
        "channel pruning contributes the most",
        "H",
        _actions,
    ),
    Reader(
        "computation",
        "F7",
        "The third stage loses more computation than any other.",
        "stage 3 is reduced most, then stages 2 and 1",
        "the detector's MACs",
        _computation,
    ),
    Reader(
        "progress",
        "F8",
        "H rises over the generations.",
        "consistently, for every base",
        "H",
        _progress,
    ),
    Reader(
        "pareto",
        "F9",
        "The front of the search is above the base at the base's cost.",
        "fronts of several bases; a larger base almost dominates",
        "AP",
        _pareto,
    ),
)
