"""What a search hands out, and the rows of all that stood beside it, out of its records."""

from __future__ import annotations

from typing import assert_never

from jdn_core.reports.contest import Line, line
from jdn_core.reports.tables import Candidate, base_row, contender_row, row
from jdn_core.run.outcome import Outcome
from jdn_core.search.contenders import ContenderRecord, Entrant
from jdn_core.search.score import grade


def result_row(outcome: Outcome) -> Candidate:
    """Returns the row of what a search hands out: a pair's, or a contender's."""
    return entrant_row(outcome, outcome.result)


def entrant_row(outcome: Outcome, entrant: Entrant) -> Candidate:
    """Returns the row of the winner or of a control."""
    folder = outcome.run.folder
    if entrant.pair is not None:
        return row(outcome.standing.graded(entrant.pair.pair.key), outcome.standing, folder)
    assert entrant.contender is not None
    return record_row(outcome, entrant.contender)


def record_row(outcome: Outcome, record: ContenderRecord) -> Candidate:
    """Returns the row of what was trained beside the pairs, at the resolution that its score chooses."""
    standing, folder = outcome.standing, outcome.run.contenders.path(record.contender.name)
    assert record.evaluation is not None
    found = grade(record.evaluation, rule=standing.score, base=standing.base)
    return contender_row(record, found, standing=standing, folder=folder)


def lines(outcome: Outcome) -> tuple[Line, ...]:
    """Returns base, controls and winner, each at its own frame; the base stands at the result's too."""
    standing, folder, result = outcome.standing, outcome.run.folder, outcome.result
    found = outcome.held_out
    base = row(outcome.base, standing, folder)
    shown = [line(base, "base", "base", held_out=found.ap("base") if found else None)]
    frame = str(result.grade.measurement.resolution)
    if frame != base.resolution:
        there = base_row(standing, folder=folder, resolution=frame)
        held_out = found.base_at.ap if found else None
        shown.append(line(there, "base", f"base at {frame}", held_out=held_out))
    winner, *controls = outcome.entrants
    for each in (*controls, winner):
        held_out = found.ap(each.name) if found else None
        title, is_result = _title(outcome, each), each is result
        shown.append(
            line(entrant_row(outcome, each), each.name, title, held_out=held_out, is_result=is_result)
        )
    failed = [each for each in outcome.records if each.evaluation is None]
    return (*shown, *(Line(each.contender.name, each.contender.name, reason=each.reason) for each in failed))


def _title(outcome: Outcome, entrant: Entrant) -> str:
    pair = outcome.winner.record.pair.index
    if entrant.contender is None:
        return f"winner: pair {pair}"
    contender = entrant.contender.contender
    match contender.name:
        case "winner":
            return f"winner: pair {pair} finished"
        case "distilled":
            return f"distilled: {len(contender.lineage)} teachers"
        case "longer" | "scaled":
            return f"{contender.name}: {contender.epochs} epochs"
        case name:
            assert_never(name)
