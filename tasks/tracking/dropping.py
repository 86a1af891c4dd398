"""Drops weights from a search's disk while it runs, once MLflow has them and no pair needs them."""

from __future__ import annotations

from collections.abc import Sequence

from jdn_core.detector.folder import WEIGHTS_FILE
from jdn_core.detector.trunk import TENSOR_FILES
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import ClimbRules, HillClimber
from jdn_core.search.retention import needed
from jdn_core.search.standing import Graded, Standing
from tasks.tracking.sending import Publisher


class Dropping:
    """What ``tracking.keep_weights: needed`` drops; under ``all`` nothing.

    Which pairs have weights here is read from the disk once and remembered, so that a pair costs the same
    after 10,000 as after ten.

    Args:
        run: of the search.
        standing: of its pairs; those that are added later are given to ``drop``.
        rules: of the search.
        publisher: says which weights MLflow holds.
    """

    def __init__(self, run: Run, standing: Standing, rules: ClimbRules, publisher: Publisher) -> None:
        self._run, self._standing, self._rules, self._publisher = run, standing, rules, publisher
        self._is_on = run.settings.tracking.keep_weights == "needed"
        keys = [record.pair.key for record in standing.records] if self._is_on else []
        self._here = {key for key in keys if (run.records.path(key) / WEIGHTS_FILE).exists()}

    def drop(self, climber: HillClimber, *, new: Graded, best: Sequence[Graded]) -> frozenset[str]:
        """Deletes the weights, and the trunks beside them, that may go after a result; keys of their pairs.

        MLflow's copy is read back and hashed first, in the publisher's thread, so weights that may go after
        one result are deleted after a later one.

        Args:
            climber: of the search, which knows the result.
            new: the pair that was evaluated.
            best: the best pairs, as many as may become parents.
        """
        if not self._is_on:
            return frozenset()
        if new.grade is not None:  # a failed pair has no weights
            self._here.add(new.record.pair.key)
        horizon = self._rules.horizon(climber.next_index)
        keep = needed(
            self._standing, climber.pending, best=best, top_k=self._rules.search.top_k, horizon=horizon
        )
        gone = self._publisher.holds(self._here - keep)
        for key in gone:
            for name in TENSOR_FILES:
                (self._run.records.path(key) / name).unlink(missing_ok=True)
        self._here -= gone
        return gone
