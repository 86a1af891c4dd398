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


def test_constant_stays_and_falls_in_its_last_share_alone() -> None:
    assert set(rates(100, schedule="constant", warmup=0)) == {0.1}
    found = rates(100, schedule="constant", cooldown=0.2, warmup=0)
    assert set(found[:80]) == {0.1}
    assert found[80:] == pytest.approx([0.1 * (100 - i) / 20 for i in range(80, 100)])


def test_a_cooldown_over_a_whole_training_is_a_line() -> None:
    assert rates(4, schedule="constant", cooldown=1.0, warmup=0) == pytest.approx([0.1, 0.075, 0.05, 0.025])
