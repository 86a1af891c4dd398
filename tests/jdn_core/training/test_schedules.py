"""Learning rates: warm-up, cosine and step."""

import pytest

from jdn_core.settings.training import TrainingSettings
from jdn_core.training.schedules import learning_rate


def rates(total: int, **settings: object) -> list[float]:
    regime = TrainingSettings(lr=0.1, **settings)
    return [learning_rate(regime, iteration=i, total=total) for i in range(total)]


def test_cosine_falls_from_the_highest_rate_towards_zero() -> None:
    found = rates(100, schedule="cosine", warmup=0)
    assert found[0] == 0.1
    assert found[50] == pytest.approx(0.05)
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < 1e-4


def test_step_divides_by_ten_at_each_share() -> None:
    found = rates(100, schedule="step", steps=(0.5, 0.9), warmup=0)
    assert found[49] == pytest.approx(0.1)
    assert found[50] == pytest.approx(0.01)
    assert found[90] == pytest.approx(0.001)


def test_warm_up_rises_linearly_and_takes_a_quarter_at_the_most() -> None:
    found = rates(100, schedule="step", steps=(0.9,), warmup=500)
    assert found[:3] == pytest.approx([0.1 / 26, 0.2 / 26, 0.3 / 26])
    assert found[25] == pytest.approx(0.1)
