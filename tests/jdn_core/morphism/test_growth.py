from __future__ import annotations

import pytest
import torch

from jdn_core.morphism.evolve import evolve
from jdn_core.space.actions import AddLayer, PruneChannels, Rearrange
from jdn_core.space.families import Family
from tests.jdn_core.tiny import SIZES, grown, images, tiny_spec


@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("name", ["r18", "r50", "x101"])
def test_add_layer_leaves_the_output_bit_equal(name: Family, stage: int) -> None:
    detector = grown(tiny_spec(name))
    child = evolve(detector, AddLayer(stage))
    assert child.spec.backbone.depths[stage] == detector.spec.backbone.depths[stage] + 1
    for before, after in zip(detector.detect(images(), SIZES), child.detect(images(), SIZES), strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("stage", range(4))
@torch.no_grad()
def test_add_layer_leaves_a_pruned_and_rearranged_student_bit_equal(stage: int) -> None:
    detector = evolve(evolve(grown(tiny_spec("r50")), PruneChannels(0.3)), Rearrange(2, "last"))
    child = evolve(detector, AddLayer(stage))
    before, after = detector.features(images(), SIZES), child.features(images(), SIZES)
    assert all(torch.equal(before[level], after[level]) for level in before)


def test_an_added_layer_can_learn() -> None:
    child = evolve(grown(tiny_spec("r50")), AddLayer(1)).train()
    sum(level.square().mean() for level in child.features(images(), SIZES).values()).backward()
    gradient = child.get_parameter("backbone.stages.1.3.bn3.weight").grad
    assert gradient is not None
    assert gradient.any()
