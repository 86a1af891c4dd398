"""The running average on a module of one line and one BN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jdn_core.training.averaging import RunningAverage


def module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def move(net: nn.Sequential) -> dict[str, Tensor]:
    """Changes weights and statistics as a step does; what they are now."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += torch.randn_like(parameter)
    net(torch.randn(8, 3))
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def test_the_average_is_a_mean_at_first_and_forgets_beyond_its_horizon() -> None:
    net = module()
    average = RunningAverage(net)
    seen = []
    for step in range(6):
        seen.append(move(net))
        average.add(step=step, horizon=4)
    average.load_into_module()
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            wanted = torch.stack([state[name] for state in seen[:4]]).mean(0)
            for state in seen[4:]:
                wanted = wanted + (state[name] - wanted) / 4
            torch.testing.assert_close(tensor, wanted, rtol=1e-5, atol=1e-6)


def test_integers_are_those_of_the_last_step() -> None:
    net = module()
    average = RunningAverage(net)
    for step in range(3):
        move(net)
        average.add(step=step, horizon=10)
    assert int(average.state()["average.1.num_batches_tracked"]) == 3


def test_a_horizon_below_a_step_is_the_weights_themselves() -> None:
    net = module()
    average = RunningAverage(net)
    for step in range(3):
        last = move(net)
        average.add(step=step, horizon=0.5)
    average.load_into_module()
    assert all(torch.equal(tensor, last[name]) for name, tensor in net.state_dict().items())
