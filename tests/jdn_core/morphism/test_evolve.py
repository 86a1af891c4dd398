from __future__ import annotations

import pytest
import torch

from jdn_core.morphism.evolve import evolve, prunings
from jdn_core.space.actions import AddLayer, PruneChannels, PruneLayer, Rearrange, key, parse
from jdn_core.space.architecture import DetectorSpec
from tests.jdn_core.tiny import grown, tiny_spec

SHARES = (0.05, 0.2)


def test_prunings_are_what_evolve_does() -> None:
    detector = grown(tiny_spec("r50"))
    found = prunings(detector, SHARES)
    assert list(found) == ["prune_channels:0.05", "prune_channels:0.2", "prune_layer"]
    for text, spec in found.items():
        assert evolve(detector, parse(text)).spec.backbone == spec


def test_prunings_leave_out_what_is_not_legal() -> None:
    detector = grown(tiny_spec("r18"))
    for _ in range(4):
        detector = evolve(detector, PruneLayer())
    assert detector.spec.backbone.depths == (1, 1, 1, 1)
    assert list(prunings(detector, SHARES)) == ["prune_channels:0.05", "prune_channels:0.2"]
    with pytest.raises(ValueError, match="prune_layer: every block is the last of its stage"):
        evolve(detector, PruneLayer())
    with pytest.raises(ValueError, match="stage 2 has one block"):
        evolve(detector, Rearrange(1, "first"))


@pytest.mark.parametrize(
    "action", [PruneChannels(0.1), PruneLayer(), AddLayer(2), Rearrange(2, "first")], ids=key
)
def test_everything_but_the_backbone_is_inherited(action: PruneChannels | PruneLayer) -> None:
    detector = grown(tiny_spec("r50")).train()
    child = evolve(detector, action)
    assert child.training
    assert _but_the_backbone(child.spec) == _but_the_backbone(detector.spec)
    inherited = {name: value for name, value in child.state_dict().items() if name.startswith(("rpn", "roi"))}
    inherited |= {"neck.layer_blocks.0.0.weight": child.neck.layer_blocks[0][0].weight}
    assert all(torch.equal(value, detector.state_dict()[name]) for name, value in inherited.items())


def _but_the_backbone(spec: DetectorSpec) -> dict[str, object]:
    return {name: value for name, value in spec.to_json().items() if name != "backbone"}


def test_children_are_the_same_every_time() -> None:
    detector = grown(tiny_spec("r18"))
    first, second = (evolve(detector, Rearrange(0, "last")) for _ in range(2))
    state = first.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in second.state_dict().items())
