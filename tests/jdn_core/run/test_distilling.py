"""``distillation.when``: a pair whose teacher is no better than its parent learns from the photos alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jdn_core.reports.tables import candidates
from jdn_core.run import assemble, steps
from jdn_core.run.folder import Run
from jdn_core.search.hill_climbing import HillClimber
from jdn_core.search.pairs import Pair
from jdn_core.search.standing import Standing
from jdn_core.search.subnets import MEASURED, SubnetRecord
from tests.tiny_run import shapes, tiny_settings, trained_run

DISTILLED = {"loss_feature", "loss_cls_kd", "loss_loc_kd"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose base, pool and pair 0 are there."""
    folder = tmp_path_factory.mktemp("trained")
    settings = tiny_settings(shapes(folder / "shapes"))
    better = settings.distillation.model_copy(update={"when": "better"})
    return trained_run(settings.model_copy(update={"distillation": better}), folder / "run")


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    return Run(trained.settings, shutil.copytree(trained.folder, tmp_path / "run"))


def next_pair(run: Run) -> Pair:
    pair = HillClimber(assemble.climb_rules(run.settings), run.records.all()).ask()
    assert pair is not None
    return pair


def losses_of(run: Run, pair: Pair) -> set[str]:
    """Evaluates a pair; the names of its losses."""
    student, teacher = steps.make_student(run, pair), steps.ensure_teacher(run, pair.teacher)
    record = steps.ensure_record(run, pair, student, teacher)
    assert record.evaluation is not None
    return set(record.evaluation.losses)


def note_ap(run: Run, pair: Pair, *, gap: float) -> None:
    """Notes that the pair's teacher has so much more AP than the pair's parent."""
    base = run.records.all()[0].evaluation
    assert base is not None
    at = base.measurements[-1]
    ap, macs = {str(at.resolution): at.ap + gap}, {str(at.resolution): 1}
    run.measured_teachers.put(SubnetRecord(pair.teacher, ap, macs, params=1))


@pytest.mark.parametrize(("gap", "distilled"), [(0.01, DISTILLED), (0.0, set()), (-0.01, set())])
def test_only_a_better_teacher_teaches(run: Run, gap: float, distilled: set[str]) -> None:
    pair = next_pair(run)
    note_ap(run, pair, gap=gap)
    assert losses_of(run, pair) & DISTILLED == distilled


def test_a_teacher_is_measured_once_at_the_largest_resolution(run: Run) -> None:
    pair = next_pair(run)
    assert run.measured_teachers.get(pair.teacher) is None
    losses_of(run, pair)
    known = run.measured_teachers.get(pair.teacher)
    assert known is not None
    assert list(known.ap) == [str(run.settings.data.frames[-1])]
    (file,) = (run.folder / MEASURED).iterdir()
    stamp = file.stat().st_mtime_ns
    shutil.rmtree(run.records.path(pair.key))
    losses_of(Run(run.settings, run.folder), pair)
    assert file.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("assessed", [0, 1])
def test_always_asks_every_teacher_and_measures_those_that_are_to_be_told(run: Run, assessed: int) -> None:
    always = run.settings.distillation.model_copy(update={"when": "always"})
    pool = run.settings.pool.model_copy(update={"assessed_subnets": assessed})
    other = Run(run.settings.model_copy(update={"distillation": always, "pool": pool}), run.folder)
    pair = next_pair(other)
    assert losses_of(other, pair) >= DISTILLED
    known = other.measured_teachers.get(pair.teacher)
    assert (known is not None) is bool(assessed)
    (row,) = candidates(Standing(other.settings.score, other.records.all()), folder=other.folder)[1:]
    assert row.teacher_ap == (known.ap[known.resolution] if known else None)


def test_a_cool_down_asks_whether_the_teacher_is_better_than_the_winner(run: Run, tmp_path: Path) -> None:
    (base,) = run.records.all()
    for gap, distilled in ((0.01, DISTILLED), (-0.01, set())):
        note_ap(run, base.pair, gap=gap)
        training = steps.finish(run, base, epochs=1, folder=tmp_path / f"finished {gap}")
        assert set(training.losses) & DISTILLED == distilled


def test_a_teacher_whose_losses_weigh_nothing_is_not_asked(run: Run) -> None:
    silent = run.settings.distillation.model_copy(
        update={"when": "always", "feature": 0.0, "classification": 0.0, "localisation": 0.0}
    )
    other = Run(run.settings.model_copy(update={"distillation": silent}), run.folder)
    assert not losses_of(other, next_pair(other)) & DISTILLED
