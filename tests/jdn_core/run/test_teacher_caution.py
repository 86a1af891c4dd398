"""Whether a pool can teach anything is said before the first pair, where it was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdn_core.run import report, teacher_caution
from jdn_core.run.folder import Run
from jdn_core.search import phases
from jdn_core.search.standing import Standing
from jdn_core.search.subnets import SubnetRecord
from jdn_core.settings.whole import parse
from tests.made_up_search import FRAMES, SPACE, make_records

RECORDS = make_records(4)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(parse({"name": "shapes", "pool": {"phases": [{"name": "supernet"}]}}), tmp_path)


@pytest.fixture
def standing(run: Run) -> Standing:
    return Standing(run.settings.score, RECORDS)


def assessed(run: Run, *aps: float, frame: str = str(FRAMES[-1])) -> None:
    """Subnets with these AP after the pool's last phase; the base has 0.44 at the largest frame."""
    found = tuple(SubnetRecord(SPACE.largest, {frame: ap}, {frame: 100}, 10) for ap in aps)
    phases.write(run.assessment(0), {"random": found})


@pytest.mark.parametrize(("aps", "is_said"), [((0.2, 0.44), True), ((0.2, 0.45), False), ((0.1,), True)])
def test_a_pool_without_a_better_teacher_is_told(
    run: Run, standing: Standing, aps: tuple[float, ...], is_said: bool
) -> None:
    assessed(run, *aps)
    said = teacher_caution.caution(run, standing)
    assert bool(said) is is_said
    if is_said:
        assert f"the best has AP {100 * max(aps):.1f} % at 160x120, the base 44.0 %" in said
    assert report.summary(run, standing)["cautions"] == ([said] if said else [])


def test_what_was_not_assessed_is_not_judged(run: Run, standing: Standing) -> None:
    assert teacher_caution.best_assessed(run) is None
    assert teacher_caution.caution(run, standing) == ""
    assessed(run, 0.1, frame="640x480")
    assert teacher_caution.caution(run, standing) == ""
