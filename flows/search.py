"""The search over student-teacher pairs, with a base and a pool that are trained already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.opening import opened
from jdn_core import assemble
from jdn_core.progress import report
from jdn_core.run import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.settings import Settings
from tasks.base import evaluate_base
from tasks.data import check_data
from tasks.pairs import fast_evaluate, mutate_pair, refuse_more_failures, reset_bn, score_pair, update_top_k
from tasks.pool import check_pool
from tasks.reports import draw_figures, summarise, write_report
from tasks.tracking import Publisher


@flow(name="search", validate_parameters=False)
def search(settings: Settings, out: Path) -> dict[str, Any]:
    """Searches in a folder whose ``base`` and ``pool`` are trained; goes on where its records end."""
    with opened(settings, out) as run, Publisher(run) as publisher:
        check_data(run)
        return climb(run, publisher)


def climb(run: Run, publisher: Publisher) -> dict[str, Any]:
    """Algorithm 1, pair by pair, then the report; what is recorded already is not done again."""
    check_pool(run)
    evaluate_base(run)
    climber = HillClimber(assemble.climb_rules(run.settings), run.records.all())
    iterations = run.settings.search.iterations
    while climber.next_index <= iterations and (pair := climber.ask()):
        student = mutate_pair(run, pair)
        teacher = reset_bn(run, pair.teacher)
        record = fast_evaluate(run, pair, student, teacher)
        climber.tell(record)
        score_pair(run, record)
        update_top_k(run)
        draw_figures(run)
        publisher.records()
        report("search", pair.index, iterations, pair.action)
        refuse_more_failures(run)
    write_report(run)
    run.forget_work()
    return summarise(run)
