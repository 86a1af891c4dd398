"""f_evolve(S, action) -> S' (paper, section 3.1.2): one door to the four actions, and a look ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from jdn_core.detector.build import Detector
from jdn_core.morphism.growth import add_block
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
    PruneChannels,
    PruneLayer,
    Rearrange,
    apply,
    key,
    reason_against,
)
from jdn_core.space.architecture import BackboneSpec


def evolve(detector: Detector, action: Action) -> Detector:
    """Returns a new detector with inherited weights; the given one is left as it is.

    Raises:
        ValueError: the action is not legal here.
    """
    match action:
        case PruneChannels(share):
            return cut_channels(detector, choose_channels(detector, share))
        case PruneLayer():
            return cut_block(detector, choose_block(detector))
        case AddLayer(stage):
            return add_block(detector, apply(detector.spec.backbone, action), stage=stage)
        case Rearrange():
            return move_block(detector, apply(detector.spec.backbone, action))
    assert_never(action)


def prunings(detector: Detector, shares: Sequence[float]) -> dict[str, BackboneSpec]:
    """Returns the architectures that actions whose outcome depends on weights would lead to, by action key.

    An action that is not legal is absent. No module is built, so that this is cheap enough to be kept with
    every pair: proposals are then functions of the records alone.
    """
    backbone = detector.spec.backbone
    actions: list[PruneChannels | PruneLayer] = [*map(PruneChannels, shares), PruneLayer()]
    legal = [action for action in actions if reason_against(backbone, action) is None]
    return {key(action): _pruned(detector, action) for action in legal}


def _pruned(detector: Detector, action: PruneChannels | PruneLayer) -> BackboneSpec:
    backbone = detector.spec.backbone
    match action:
        case PruneChannels(share):
            return cut_spec(backbone, choose_channels(detector, share))
        case PruneLayer():
            return without_block(backbone, choose_block(detector))
    assert_never(action)
