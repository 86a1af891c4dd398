"""BN reset: a subnet's own statistics, without which its AP collapses (paper, section 3.1.3)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import nn

from jdn_core.data.loading import Batch
from jdn_core.detector.build import Detector
from jdn_core.faults import Point, faultpoint
from jdn_core.pool.supernet import SuperNet
from jdn_core.processes import stopping


@torch.no_grad()
def reset_bn(detector: Detector, batches: Iterable[Batch]) -> None:
    """Replaces BN means and variances by their averages over images; no weight changes.

    Only BN layers are in train mode, with a cumulative average: every batch counts the same, in any order.
    The backbone alone runs, because nothing else holds BN. The detector is left in eval mode.

    Args:
        detector: a subnet's extracted copy.
        batches: fixed images, at least one batch.

    Raises:
        TypeError: the detector is the super-network, whose statistics all subnets share.
        ValueError: there is no batch.
        Stopped: somebody asked for it, between two batches.
    """
    if isinstance(detector, SuperNet):
        raise TypeError("reset_bn needs a subnet's extracted copy, got the super-network")
    images = iter(batches)
    first = next(images, None)
    if first is None:
        raise ValueError("reset_bn needs at least one batch of images, got none")
    device = next(detector.parameters()).device
    norms = [module for module in detector.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    detector.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # nn.BatchNorm2d then averages over all batches alike
        norm.train()
    for batch in chain([first], images):
        stopping.check()
        detector.backbone(detector.normalise(batch.images.to(device), batch.sizes))
        faultpoint(Point.BN_MID)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    detector.eval()
