"""SGD's momentum follows the weights through every action, exactly; what an action sets has none."""

from __future__ import annotations

import pytest
import torch

from jdn_core.detector.trunk import Trunk
from jdn_core.morphism.evolve import evolve, evolve_trunk
from jdn_core.space.actions import Action, AddLayer, PruneChannels, PruneLayer, Rearrange, key
from jdn_core.space.families import Family
from tests.jdn_core.tiny import grown, tiny_spec


def trunk(name: Family) -> Trunk:
    """A detector whose every weight w has the momentum 3 - w, which ranks channels the other way round."""
    torch.manual_seed(0)
    detector = grown(tiny_spec(name))
    return Trunk(detector, {name: 3 - weight.detach() for name, weight in detector.named_parameters()})


def assert_follows(child: Trunk, *, fresh: str | None = None) -> None:
    """Every parameter has the momentum of its weight, but for those whose names begin with ``fresh``."""
    weights = dict(child.detector.named_parameters())
    assert child.momentum.keys() == weights.keys()
    new = {name for name in weights if fresh is not None and name.startswith(fresh)}
    assert bool(new) == (fresh is not None)
    for name, momentum in child.momentum.items():
        wanted = torch.zeros_like(momentum) if name in new else 3 - weights[name]
        assert torch.equal(momentum, wanted), name


@pytest.mark.parametrize("family", ["r18", "r50", "x101"])
@pytest.mark.parametrize("action", [PruneChannels(0.2), PruneLayer()], ids=key)
def test_what_a_pruning_keeps_has_exactly_its_own_momentum(family: Family, action: Action) -> None:
    parent = trunk(family)
    child = evolve_trunk(parent, action)
    assert child.detector.spec == evolve(parent.detector, action).spec != parent.detector.spec
    assert_follows(child)


@pytest.mark.parametrize("family", ["r18", "r50", "x101"])
def test_an_added_layer_has_no_momentum_yet(family: Family) -> None:
    parent = trunk(family)
    depth = parent.detector.spec.backbone.depths[1]
    assert_follows(evolve_trunk(parent, AddLayer(1)), fresh=f"backbone.stages.1.{depth}.")


@pytest.mark.parametrize("family", ["r18", "r50", "x101"])
@pytest.mark.parametrize("action", [Rearrange(1, "last"), Rearrange(2, "first")], ids=key)
def test_a_block_that_moves_takes_its_momentum_along(family: Family, action: Action) -> None:
    assert_follows(evolve_trunk(trunk(family), action), fresh="backbone.stages.2.0.shortcut.")


def test_the_weights_are_those_of_evolve_and_the_parent_stays() -> None:
    parent = trunk("r50")
    before = {name: tensor.clone() for name, tensor in parent.detector.state_dict().items()}
    child = evolve_trunk(parent, PruneChannels(0.2)).detector.state_dict()
    wanted = evolve(parent.detector, PruneChannels(0.2)).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in child.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in parent.detector.state_dict().items())


def test_without_momentum_a_child_has_none() -> None:
    assert evolve_trunk(Trunk(grown(tiny_spec())), AddLayer(0)).momentum == {}
