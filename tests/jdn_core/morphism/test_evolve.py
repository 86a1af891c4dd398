from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from jdn_core.detector.folder import load_detector, save_detector
from jdn_core.evaluation.complexity import complexity
from jdn_core.morphism.evolve import evolve, prospects
from jdn_core.space.actions import AddLayer, PruneChannels, PruneLayer, Rearrange, key, legal, parse
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.families import Family
from tests.jdn_core.counting import count_macs, on_meta
from tests.jdn_core.tiny import SIZES, grown, images, targets, tiny_spec

SHARES = (0.05, 0.2)


@pytest.fixture
def _nothing_is_left_blank() -> Iterator[None]:
    """Memory that nobody wrote reads as NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_nothing_is_left_blank")
@pytest.mark.parametrize("name", ["r18", "r50", "x101"])
@pytest.mark.parametrize("seed", range(3))
def test_chains_of_actions_build_train_cost_and_survive_the_disk(
    name: Family, seed: int, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    detector = grown(tiny_spec(name))
    for _ in range(8):
        expected = prospects(detector, SHARES)
        action = draw.choice(legal(detector.spec.backbone, shares=SHARES))
        detector = evolve(detector, action)
        assert detector.spec.backbone == expected.get(key(action), detector.spec.backbone)
    assert all(bool(value.isfinite().all()) for value in detector.state_dict().values())
    frame = Resolution(75, 50)
    assert complexity(detector.spec, frame).macs == count_macs(on_meta(detector.spec), frame)[1]
    for height, width in ((64, 96), (96, 128)):
        batch = torch.nn.functional.pad(images(), (0, width - 96, 0, height - 64))
        losses = detector.train().training_step(batch, SIZES, targets()).losses
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        assert total.isfinite()
    save_detector(detector.eval(), tmp_path)
    loaded = load_detector(tmp_path)
    assert torch.equal(loaded.features(images())["0"], detector.features(images())["0"])


def test_prospects_are_what_evolve_does() -> None:
    detector = grown(tiny_spec("r50"))
    found = prospects(detector, SHARES)
    assert list(found) == ["prune_channels:0.05", "prune_channels:0.2", "prune_layer"]
    for text, spec in found.items():
        assert evolve(detector, parse(text)).spec.backbone == spec


def test_prospects_leave_out_what_is_not_legal() -> None:
    detector = grown(tiny_spec("r18"))
    for _ in range(4):
        detector = evolve(detector, PruneLayer())
    assert detector.spec.backbone.depths == (1, 1, 1, 1)
    assert list(prospects(detector, SHARES)) == ["prune_channels:0.05", "prune_channels:0.2"]
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
