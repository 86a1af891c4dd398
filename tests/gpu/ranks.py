"""What the one process of a group does in the check; the launcher imports it by name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import distributed

from jdn_core.pool.supernet import SuperNet, synchronise
from jdn_core.processes.ranks import Ranks
from tests.gpu import cases
from tests.gpu.runner import Setting
from tests.gpu.samples import Samples


@dataclass(frozen=True)
class Together:
    """What was seen in a group of one process.

    Attributes:
        backend: of torch's default group.
        total: mean of an all-reduce of ones on the device.
        gradient, statistics: by how much a step with synchronised BN differs from one with plain BN; none on
            CPUs, where torch has no such BN.
        repeat: by how much the gradients of two equal steps differ.
    """

    backend: str
    total: float
    gradient: float | None
    statistics: float | None
    repeat: float


def train_in_group(ranks: Ranks, setting: Setting) -> Together:
    """Adds up over the group, and takes a step of a super-network with BN synchronised and not."""
    ones = torch.ones(1 << 20, device=setting.device)
    distributed.all_reduce(ones)
    torch.manual_seed(0)
    supernet = cases.tamed(SuperNet(setting.scale.few, setting.scale.spec("r50"))).to(setting.device)
    supernet.activate(setting.scale.subnets[-1])
    batch = cases.pictures(setting.scale.frame, batch=2, classes=setting.scale.classes)
    samples, gradient, statistics = Samples(), None, None
    with cases.full_float32():
        plain, again = (cases.step(supernet, batch, samples) for _ in range(2))
        if setting.on_gpu:
            synchronise(supernet)
            together = cases.step(supernet, batch, samples)
            gradient = cases.gradient_error(together, plain)
            statistics = cases.statistics_error(together, plain)
    repeat = cases.gradient_error(again, plain)
    return Together(str(distributed.get_backend_config()), ones.mean().item(), gradient, statistics, repeat)
