"""Pruned chains against an independent judge: Torch-Pruning, which finds coupled layers by tracing."""

from __future__ import annotations

import copy
from collections import defaultdict

import pytest
import torch
import torch_pruning
from torch import Tensor, nn

from jdn_core.detector.build import Detector
from jdn_core.morphism.evolve import evolve
from jdn_core.morphism.importance import Site
from jdn_core.morphism.inheritance import blocks, streams
from jdn_core.morphism.pruning import ChannelCut, choose_channels, cut_channels
from jdn_core.space.actions import Action, AddLayer, Rearrange
from jdn_core.space.families import Family
from tests.jdn_core.tiny import assert_near, grown, tiny_spec

pytestmark = pytest.mark.slow

CHAIN = (0.2, 0.1, 0.3)  # shares, one pruning after the other


class _Pyramid(nn.Module):
    """What the tracer walks: image to levels, without the boxes that no tracer follows."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.backbone, self.neck = detector.backbone, detector.neck

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.neck(self.backbone(images)).values())


def _ruling_norms(detector: Detector) -> dict[Site, list[nn.Module]]:
    """The BNs whose outputs stand for each width that a cut may name.

    A stream has one more where a moved block got a projection: the judge takes a convolution for a border
    between widths, we keep one width on both sides of it, as the paper's R101 student does.
    """
    found: dict[Site, list[nn.Module]] = defaultdict(list)
    for index, (block, stream) in enumerate(
        zip(blocks(detector), streams(detector.spec.backbone), strict=True)
    ):
        for conv, (_, bn) in enumerate(block.layers()):
            found[index, conv].append(bn)
        if block.shortcut is not None:
            found[stream].append(block.shortcut.bn)
    return found


def _cut_by_the_judge(pyramid: _Pyramid, detector: Detector, cut: ChannelCut) -> None:
    """Removes the same units in place; what is coupled to them is found by the judge alone."""
    graph = torch_pruning.DependencyGraph().build_dependency(pyramid, torch.rand(1, 3, 64, 64))
    names = {module: name for name, module in detector.named_modules()}
    for site, norms in _ruling_norms(detector).items():
        gone = (~cut.kept.get(site, torch.ones(1, dtype=torch.bool))).nonzero().flatten().tolist()
        for bn in norms if gone else ():
            prune = torch_pruning.prune_batchnorm_out_channels
            graph.get_pruning_group(pyramid.get_submodule(names[bn]), prune, idxs=gone).prune()


@pytest.mark.parametrize(
    ("name", "width", "before"),
    [
        pytest.param("r50", 1.0, (), id="R50, full width"),
        pytest.param(
            "r50", 1 / 4, (Rearrange(2, "last"), Rearrange(2, "last"), AddLayer(3)), id="R50, moved"
        ),
        pytest.param("r18", 1 / 4, (Rearrange(1, "first"),), id="R18, moved"),
    ],
)
def test_a_pruned_chain_is_what_torch_pruning_makes_of_it(
    name: Family, width: float, before: tuple[Action, ...]
) -> None:
    ours = grown(tiny_spec(name, width=width, depth=6))
    for action in before:
        ours = evolve(ours, action)
    theirs = copy.deepcopy(_Pyramid(ours))
    for share in CHAIN:
        cut = choose_channels(ours, share)
        _cut_by_the_judge(theirs, ours, cut)
        ours = cut_channels(ours, cut)
    expected, found = theirs.state_dict(), _Pyramid(ours).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    x = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        for level, wanted in zip(_Pyramid(ours)(x), theirs(x), strict=True):
            assert_near(level, wanted)
