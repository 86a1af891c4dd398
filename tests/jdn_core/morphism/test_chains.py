"""Random chains of 20 actions in every family: what they cost, at full width, and that they live, slim.

``JDN_CHAINS`` is the number of chains a family; the few that run by default are the first of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

from jdn_core.detector.backbone import Backbone
from jdn_core.detector.build import Detector, weightless
from jdn_core.detector.folder import load_detector, save_detector
from jdn_core.evaluation.complexity import complexity
from jdn_core.morphism.evolve import evolve, prunings
from jdn_core.morphism.inheritance import blocks
from jdn_core.morphism.pruning import choose_channels, cut_spec, without_block
from jdn_core.space.actions import PruneChannels, PruneLayer, apply, key, legal, removable, weight_dependent
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.chance import pick
from jdn_core.space.families import DEPTHS, Family, family
from tests.jdn_core.counting import count_macs, count_params, on_meta
from tests.jdn_core.golden import CLASSES
from tests.jdn_core.tiny import SIZES, grown, images, targets, tiny_spec

pytestmark = pytest.mark.slow

ACTIONS = 20
SHARES = (0.05, 0.1, 0.3)
INHERITED = 10  # every so manieth of the slim chains carries weights along
CHAINS = int(os.environ.get("JDN_CHAINS", "0"))  # 0 is the default of each test
FRAMES = (Resolution(1333, 800), Resolution(512, 512), Resolution(101, 67), Resolution(600, 1001))
FAMILIES = pytest.mark.parametrize("name", DEPTHS)


@pytest.mark.timeout(0 if CHAINS else 120)
@FAMILIES
def test_chains_at_full_width_cost_what_complexity_says(name: Family) -> None:
    for seed in range(CHAINS or 5):
        rng = Random(f"{name} {seed}")
        detector, frame = DetectorSpec(family(name), CLASSES), pick(rng, FRAMES)
        for _ in range(ACTIONS):
            detector = _outcome(detector, rng)
        cost, built = complexity(detector, frame), on_meta(detector)
        assert (cost.backbone_macs, cost.macs) == count_macs(built, frame), seed
        assert (cost.backbone_params, cost.params) == count_params(built), seed


@pytest.fixture
def _nothing_is_left_blank() -> Iterator[None]:
    """Memory that was never written reads as NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.timeout(0 if CHAINS else 120)
@pytest.mark.usefixtures("_nothing_is_left_blank")
@FAMILIES
def test_slim_chains_are_foreseen_train_and_survive_the_disk(name: Family, tmp_path: Path) -> None:
    for seed in range(CHAINS or 3):
        rng = Random(f"slim {name} {seed}")
        spec = tiny_spec(name, depth=5 if name == "r101" else 3)
        detector = _inherited(spec, rng) if seed <= CHAINS // INHERITED else _fresh(spec, rng)
        assert all(bool(value.isfinite().all()) for value in detector.state_dict().values())
        cost = complexity(detector.spec, FRAMES[2])
        assert (cost.backbone_params, cost.params) == count_params(detector), seed
        _assert_trains(detector)
        save_detector(detector.eval(), tmp_path / str(seed))
        loaded = load_detector(tmp_path / str(seed))
        assert loaded.spec == detector.spec
        for before, after in zip(
            detector.detect(images(), SIZES), loaded.detect(images(), SIZES), strict=True
        ):
            assert all(torch.equal(before[part], after[part]) for part in before)
        assert torch.equal(loaded.features(images())["3"], detector.features(images())["3"])


def _inherited(spec: DetectorSpec, rng: Random) -> Detector:
    """What a chain makes of a detector's weights; every look ahead is what then comes."""
    detector = grown(spec)
    for _ in range(ACTIONS):
        action = pick(rng, legal(detector.spec, prune_shares=SHARES, narrow_shares=SHARES))
        share = (action.share,) if isinstance(action, PruneChannels) else ()
        foreseen = prunings(detector, share).get(key(action)) if weight_dependent(action) else None
        detector = evolve(detector, action)
        assert foreseen in (None, detector.spec.backbone)
    return detector


def _fresh(spec: DetectorSpec, rng: Random) -> Detector:
    """A new detector of the architecture that a chain leads to, which takes a fifth of the time."""
    for _ in range(ACTIONS):
        spec = _outcome(spec, rng)
    return grown(spec)


def _assert_trains(detector: Detector) -> None:
    """Forward and backward at two resolutions; every parameter is reached."""
    for height, width in ((64, 96), (96, 128)):
        detector.train().zero_grad()
        batch = nn.functional.pad(images(), (0, width - 96, 0, height - 64))
        total = torch.stack(list(detector.training_step(batch, SIZES, targets()).losses.values())).sum()
        total.backward()
        gradients = [parameter.grad for parameter in detector.parameters()]
        assert total.isfinite()
        assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


def _outcome(spec: DetectorSpec, rng: Random) -> DetectorSpec:
    """What one action leads to, any that is legal; channels are ranked by made-up BN weights.

    Which block has the least norm is drawn: every block that may be the least is as good.
    """
    action = pick(rng, legal(spec, prune_shares=SHARES, narrow_shares=SHARES))
    match action:
        case PruneChannels(share):
            cut = choose_channels(_weighed(spec, rng), share)
            return replace(spec, backbone=cut_spec(spec.backbone, cut))
        case PruneLayer():
            gone = pick(rng, removable(spec.backbone))
            return replace(spec, backbone=without_block(spec.backbone, gone))
        case _:
            return apply(spec, action)


def _weighed(spec: DetectorSpec, rng: Random) -> Detector:
    """As much of a detector as the ranking of channels looks at: BN weights, some layers' far smaller."""
    with weightless():
        backbone = Backbone(spec.backbone)
    detector = SimpleNamespace(spec=spec, backbone=backbone)
    generator = torch.Generator().manual_seed(int(rng.random() * 2**32))
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            weight = torch.rand(module.num_features, generator=generator) * pick(rng, (1, 1, 1, 0.3, 0.01))
            module.weight = nn.Parameter(weight)
    assert blocks(cast(Detector, detector))
    return cast(Detector, detector)
