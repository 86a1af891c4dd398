"""Weights that leave a search's disk while it runs, once MLflow has them and no pair needs them."""

from __future__ import annotations

from jdn_core.detector.folder import WEIGHTS_FILE
from jdn_core.run import assemble
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.retention import removable
from jdn_core.search.standing import Standing
from tasks.tracking import Publisher


def forget_weights(run: Run, climber: HillClimber, publisher: Publisher) -> frozenset[str]:
    """Removes what ``tracking.keep_weights: needed`` lets go after a result; keys of those pairs.

    MLflow's copy is read back and hashed first, beside the training: what it is asked for after one result
    leaves after a later one.
    """
    if run.settings.tracking.keep_weights == "all":
        return frozenset()
    rules = assemble.climb_rules(run.settings)
    free = removable(
        Standing(rules.score, run.records.all()),
        climber.pending,
        top_k=rules.top_k,
        horizon=rules.horizon(climber.next_index),
    )
    here = {key for key in free if (run.records.path(key) / WEIGHTS_FILE).exists()}
    gone = publisher.holds(here)
    for key in gone:
        (run.records.path(key) / WEIGHTS_FILE).unlink()
    return gone
