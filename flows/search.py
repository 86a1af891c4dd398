"""The search over student-teacher pairs, with a base and a pool that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.opening import opened
from jdn_core import assemble
from jdn_core.errors import UserError
from jdn_core.progress import report
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import PairRecord
from jdn_core.settings import Settings
from tasks.base import evaluate_base
from tasks.data import check_data
from tasks.pairs import fast_evaluate, mutate_pair, reset_bn, score_pair, update_top_k
from tasks.reports import summarise, write_report
from tasks.run import Run
from tasks.tracking import Publisher


@flow(name="search", validate_parameters=False)
def search(settings: Settings, out: Path) -> dict[str, Any]:
    """Searches in a folder whose ``base`` and ``pool`` are trained; goes on where the folder's records end."""
    with opened(settings, out) as (run, publisher):
        check_data(run)
        return climb(run, publisher)


def climb(run: Run, publisher: Publisher) -> dict[str, Any]:
    """The steps of Algorithm 1, pair by pair, then the report."""
    evaluate_base(run)
    publisher.records()
    climber = HillClimber(assemble.climb_rules(run.settings), run.records.all())
    while climber.next_index <= run.settings.search.iterations and (pair := climber.ask()):
        student = mutate_pair(run, pair)
        teacher = reset_bn(run, pair.teacher)
        record = fast_evaluate(run, pair, student, teacher)
        climber.tell(record)
        score_pair(run, record)
        update_top_k(run)
        publisher.records()
        report("search", pair.index, run.settings.search.iterations, pair.action)
        stop_after_failures(run)
    write_report(run)
    publisher.finish()
    return summarise(run)
