"""A subnet of the pool as a plain detector of its own."""

from __future__ import annotations

from jdn_core.detector.build import Detector, blank
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.teachers import SubnetSpec


def extract(supernet: SuperNet, subnet: SubnetSpec) -> Detector:
    """Copies a subnet's weights and buffers out of the super-network, which keeps all it has.

    The result computes what the super-network computes with ``subnet`` active, whichever is active now; it is
    in eval mode on the same device. Its BN statistics are those that all subnets share: ``reset_bn`` them.
    """
    weights = supernet.state_dict()
    device = next(supernet.parameters()).device
    detector = blank(supernet.space.detector_spec(subnet, supernet.template), device)
    for name, tensor in detector.state_dict().items():
        tensor.copy_(weights[name][tuple(slice(size) for size in tensor.shape)])
    return detector.eval()
