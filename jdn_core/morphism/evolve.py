"""f_evolve(S, action) -> S' (paper, section 3.1.2): one door to the four actions, and a look ahead."""

from __future__ import annotations

from collections.abc import Sequence

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
from jdn_core.space.actions import Action, AddLayer, PruneChannels, PruneLayer, Rearrange, apply, key
from jdn_core.space.architecture import BackboneSpec


def evolve(detector: Detector, action: Action) -> Detector:
    """A new detector with inherited weights; the given one is left as it is.

    Raises:
        ValueError: the action is not legal here.
    """
    backbone = detector.spec.backbone
    match action:
        case PruneChannels(share):
            cut = choose_channels(detector, share)
            if not cut.removed:
                raise ValueError(f"no channel can go: {share} of {cut.prunable} prunable channels")
            return cut_channels(detector, cut)
        case PruneLayer():
            index = choose_block(detector)
            if index is None:
                raise ValueError(f"no block can go: depths {backbone.depths}")
            return cut_block(detector, index)
        case AddLayer(stage):
            return add_block(detector, apply(backbone, action), stage=stage)
        case Rearrange():
            return move_block(detector, apply(backbone, action))


def prospects(detector: Detector, shares: Sequence[float]) -> dict[str, BackboneSpec]:
    """The architectures that the actions whose outcome hangs on the weights would lead to, by action key.

    An action that nothing would come of is absent. No module is built, so that this is cheap enough to be
    kept with every pair: proposals are then functions of the records alone.
    """
    backbone = detector.spec.backbone
    found: dict[str, BackboneSpec] = {}
    for share in shares:
        cut = choose_channels(detector, share)
        if cut.removed:
            found[key(PruneChannels(share))] = cut_spec(backbone, cut)
    index = choose_block(detector)
    if index is not None:
        found[key(PruneLayer())] = without_block(backbone, index)
    return found
