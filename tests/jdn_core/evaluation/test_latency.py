from __future__ import annotations

import pytest
import torch

from jdn_core.evaluation.latency import measure, time_detections
from jdn_core.space.architecture import Resolution
from tests.jdn_core.tiny import grown, tiny_spec


def test_says_what_it_was_measured_on() -> None:
    latency = measure(grown(tiny_spec()), Resolution(90, 60), warmup=1, repeats=5)
    assert 0 < latency.p10_ms <= latency.median_ms <= latency.p90_ms
    assert (latency.device, latency.threads) == ("cpu", torch.get_num_threads())


@pytest.mark.parametrize("training", [True, False])
def test_leaves_the_detector_as_it_was(training: bool) -> None:
    detector = grown(tiny_spec()).train(training)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    measure(detector, Resolution(90, 60), warmup=0, repeats=1)
    assert detector.training is training
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_refuses_to_measure_nothing() -> None:
    with pytest.raises(ValueError, match="repeats and batch >= 1, got 0, 0 and 1"):
        measure(grown(tiny_spec()), Resolution(90, 60), warmup=0, repeats=0)


def test_a_batch_is_one_detection() -> None:
    times = time_detections(grown(tiny_spec()), Resolution(90, 60), warmup=0, repeats=2, batch=3)
    assert len(times) == 2
