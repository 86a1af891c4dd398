"""A pool that starts as the base: what its first phase begins with, and that the base stays inside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jdn_core.detector.folder import load_detector
from jdn_core.errors import SettingsError
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import load_pool
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.space.teachers import SubnetSpec
from tests.tiny_run import shapes, tiny_settings

DEPTHS = [[2, 3], [2, 2], [2, 3], [2, 2]]
PHASE = {"epochs": 1, "batch": 4, "schedule": "constant"}
BASE = SubnetSpec((2, 2, 2, 2), 1, (1,) * 4, 1)


def of(photos: Path, folder: Path, *, lr: float) -> Run:
    pool = {
        "start": "base",
        "space": {"depths": DEPTHS, "widths": [1.0, 1.5]},
        "phases": [
            {"name": "grown", **PHASE, "lr": lr},
            {"name": "shrink", **PHASE, "lr": lr, "depths": DEPTHS, "widths": [1.0, 1.5]},
        ],
    }
    return Run(tiny_settings(photos, pool=pool), folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("shapes"))


def test_the_base_is_the_smallest_subnet_of_what_hardly_learned(photos: Path, tmp_path: Path) -> None:
    run = of(photos, tmp_path, lr=1e-12)
    base = load_detector(steps.ensure_base(run))
    for index in range(2):  # the second phase must not put the channels into another order
        slim = extract(load_pool(steps.ensure_phase(run, index)), BASE)
        assert slim.spec == base.spec
        for name, weight in slim.named_parameters():
            torch.testing.assert_close(weight, base.get_parameter(name), atol=1e-6, rtol=0)


def test_a_pool_is_as_wide_and_of_the_kind_of_the_base(photos: Path, tmp_path: Path) -> None:
    run = of(photos, tmp_path, lr=0.02)
    steps.ensure_base(run)
    net = load_pool(steps.ensure_phase(run, 0))
    assert net.spec.backbone.depths == (3, 2, 3, 2)
    assert {block.kind for _, _, block in net.spec.backbone.blocks()} == {"basic"}
    assert (net.spec.backbone.stem, net.spec.neck, net.spec.head) == (16, 24, 16)


def test_a_base_from_elsewhere_that_does_not_fit_is_refused(photos: Path, tmp_path: Path) -> None:
    other = Run(tiny_settings(photos, detector={"family": "r34"}), tmp_path)
    steps.ensure_base(other)
    with pytest.raises(SettingsError, match=r"pool\.start: must be scratch"):
        steps.ensure_phase(of(photos, tmp_path, lr=0.02), 0)
