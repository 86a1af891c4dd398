"""f_evolve(S, action) -> S' (paper, section 3.1.2): one door to the actions, and a look ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import assert_never

from torch import Tensor

from jdn_core.detector.build import Detector, blank
from jdn_core.detector.trunk import Trunk
from jdn_core.morphism.growth import add_block
from jdn_core.morphism.narrowing import choose_heads, cut_heads
from jdn_core.morphism.pruning import (
    choose_block,
    choose_channels,
    cut_block,
    cut_channels,
    cut_spec,
    without_block,
)
from jdn_core.morphism.rearrangement import move_block
from jdn_core.space.actions import (
    Action,
    AddLayer,
    NarrowHeads,
    PruneChannels,
    PruneLayer,
    Rearrange,
    apply,
    key,
    reason_against,
)
from jdn_core.space.architecture import BackboneSpec

Change = Callable[[Detector], Detector]


def evolve(detector: Detector, action: Action) -> Detector:
    """Returns a new detector with inherited weights; the given one is left as it is.

    Raises:
        ValueError: the action is not legal here.
    """
    return choose(detector, action)(detector)


def choose(detector: Detector, action: Action) -> Change:
    """Chooses the change that an action makes: by the weights where it prunes, else by the architecture.

    The change can be made to every detector of the same architecture: it copies and cuts tensors and sets
    constants, and looks at none of their numbers.

    Raises:
        ValueError: the action is not legal here.
    """
    match action:
        case PruneChannels(share):
            return partial(cut_channels, cut=choose_channels(detector, share))
        case PruneLayer():
            return partial(cut_block, gone=choose_block(detector))
        case AddLayer(stage):
            return partial(add_block, spec=apply(detector.spec, action).backbone, stage=stage)
        case Rearrange():
            return partial(move_block, spec=apply(detector.spec, action).backbone)
        case NarrowHeads():
            return partial(cut_heads, spec=apply(detector.spec, action), kept=choose_heads(detector, action))
    assert_never(action)


def evolve_trunk(trunk: Trunk, action: Action) -> Trunk:
    """Returns the trunk of a child: raw weights and momentum after the same change; fresh layers have none.

    Raises:
        ValueError: the action is not legal here.
    """
    change = choose(trunk.detector, action)
    momentum = carry(trunk.momentum, trunk.detector, change) if trunk.momentum else {}
    return Trunk(change(trunk.detector), momentum)


def carry(momentum: Mapping[str, Tensor], detector: Detector, change: Change) -> dict[str, Tensor]:
    """Returns SGD's momentum after a change, by the names of the child's parameters.

    A change moves numbers and sets constants. So what it makes of the momentum less what it makes of zeros is
    the momentum that moved, exactly, and zero where a constant was set.

    Args:
        momentum: by the names of the detector's parameters; one that is absent has none.
        detector: whose momentum it is.
        change: made to the detector.
    """
    moved, constant = (
        dict(change(_filled(detector, numbers)).named_parameters()) for numbers in (momentum, {})
    )
    return {name: (tensor - constant[name]).detach() for name, tensor in moved.items()}


def _filled(detector: Detector, numbers: Mapping[str, Tensor]) -> Detector:
    """Returns a detector of the same architecture with these parameters; all other tensors are zero."""
    other = blank(detector.spec, next(detector.parameters()).device)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(numbers, strict=False)
    return other


def prunings(detector: Detector, shares: Sequence[float]) -> dict[str, BackboneSpec]:
    """Returns the architectures that actions whose outcome depends on weights would lead to, by action key.

    An action that is not legal is absent. No module is built, so that this is cheap enough to be kept with
    every pair: proposals are then functions of the records alone.
    """
    actions: list[PruneChannels | PruneLayer] = [*map(PruneChannels, shares), PruneLayer()]
    legal = [action for action in actions if reason_against(detector.spec, action) is None]
    return {key(action): _pruned(detector, action) for action in legal}


def _pruned(detector: Detector, action: PruneChannels | PruneLayer) -> BackboneSpec:
    backbone = detector.spec.backbone
    match action:
        case PruneChannels(share):
            return cut_spec(backbone, choose_channels(detector, share))
        case PruneLayer():
            return without_block(backbone, choose_block(detector))
    assert_never(action)
