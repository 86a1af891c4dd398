"""A real search, only small, whose winner is a pair, with the controls, the finish and held-out photos."""

from __future__ import annotations

from pathlib import Path

from jdn_core.evaluation.complexity import complexity
from jdn_core.run import assemble, controls, outcome, steps
from jdn_core.run.folder import Run
from jdn_core.search.contenders import winner
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.standing import Standing
from tests.tiny_run import shapes, tiny_settings

CONTROLS = {"controls": ["longer", "distilled", "scaled"], "finish": 0.4}


def contested(folder: Path) -> Run:
    """A search of two pairs whose winner is one of them, with everything that stands beside it."""
    root, sections = shapes(folder / "shapes"), {"data": {"holdout": 0.5}, "search": CONTROLS}
    base = assemble.base_spec(tiny_settings(root))
    # Nothing is learned in so few steps, so a bound decides: the base breaks it, a pruned student keeps it.
    bound = complexity(base, tiny_settings(root).data.frames[0]).macs - 1
    settings = tiny_settings(
        root, **sections, base={"schedule": "constant"}, score={"max_macs": float(bound)}
    )
    run = Run(settings, folder / "run")
    run.folder.mkdir()
    steps.ensure_base(run)
    for index in range(2):
        steps.ensure_phase(run, index)
    standing = Standing(settings.score, [steps.ensure_base_record(run)])
    climber = HillClimber(assemble.climb_rules(settings), standing.records)
    while winner(standing).record.pair.index == 0:
        pair = climber.ask()
        assert pair is not None
        student, teacher = steps.make_student(run, pair), steps.ensure_teacher(run, pair.teacher)
        record = steps.ensure_record(run, pair, student, teacher)
        climber.tell(record)
        standing.add(record)
    for contender in assemble.contenders(settings, standing):
        controls.ensure_contender(run, contender)
    outcome.ensure_held_out(run)
    run.forget_work()
    return run
