from __future__ import annotations

from typing import Any

import pytest

from jdn_core.run.stage_seconds import StageSeconds
from jdn_core.settings.whole import parse

STEPS = {"base": 1.0, "pool": 2.0, "shrinking": 3.0, "distilled": 4.0, "evaluation": 0.5, "reading": 0.1}
TRAINING = {"epochs": 2, "batch": 4}


def seconds(*, train: int = 10, at_a_time: int = 1, **search: Any) -> dict[str, float]:
    phases = [{"name": "a", **TRAINING}, {"name": "b", **TRAINING, "depths": [[2, 2]] * 4}]
    settings = parse(
        {
            "data": {"resolutions": ["64x64", "96x96"]},
            "base": TRAINING,
            "pool": {"phases": phases, "calibration_images": 6},
            "evaluation": {"epochs": 1, "batch": 4, "latency_warmup": 1, "latency_repeats": 3},
            "search": {"iterations": 8, **search},
        }
    )
    return StageSeconds(settings, train, 4, 2, STEPS, at_a_time).by_stage()


def test_stages_add_up_steps() -> None:
    found = seconds()
    assert found["start"] == pytest.approx(20 + 16 * 2 * 0.1)
    assert found["base"] == 2 * 8 * 1  # two of ten photos fill no batch
    assert found["pool"] == 2 * 8 * 2 + 2 * 8 * 3 + 4 * (6 + 4) * 0.5 * 1.5
    measured = (4 + 4) * 2 * 0.5
    assert found["pairs"] == measured + 8 * (8 * 4 + measured + 7.5 / 2 + 2)
    assert found["controls"] == 3 * 2 * 0.5  # a look at the photos that were held out


def test_controls_and_the_cool_down_cost_what_the_lineage_had() -> None:
    plain = seconds()["controls"]
    measured = (4 + 4) * 2 * 0.5
    longer = seconds(controls=["longer"])["controls"] - plain
    assert longer == (2 + 2) * 8 + measured + 1  # base and a lineage of two pairs; one more look
    finish = seconds(finish=0.5)["controls"] - plain
    assert finish == 2 * 8 * 4 + measured
    assert seconds(controls=["distilled"])["controls"] - plain == 2 * 8 * 4 + measured + 1


def test_pairs_are_shared_by_those_that_do_not_slow_each_other() -> None:
    alone, shared = seconds()["pairs"], seconds(at_a_time=4)["pairs"]
    base = (4 + 4) * 2 * 0.5
    assert shared - base == pytest.approx((alone - base) / 4)
