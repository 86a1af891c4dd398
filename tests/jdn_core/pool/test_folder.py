"""A pool's folder: what comes back is what was saved, or nothing does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from jdn_core.detector.folder import WEIGHTS_FILE
from jdn_core.errors import CheckpointError, InputMissing, SettingsError, UserError
from jdn_core.pool.extraction import extract
from jdn_core.pool.folder import POOL_FILE, Origin, load_pool, load_pool_spec, require_like, save_pool
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.families import family
from jdn_core.storage.durable import read_json

ORIGIN = Origin({"seed": 7, "pool": {}}, "0" * 64, {"supernet": {"loss_classifier": [1.5, 0.25]}, "last": {}})


@pytest.fixture
def folder(supernet: SuperNet, tmp_path: Path) -> Path:
    save_pool(supernet, tmp_path / "pool", origin=ORIGIN)
    return tmp_path / "pool"


def test_a_saved_pool_comes_back_with_the_same_subnets(
    supernet: SuperNet, folder: Path, images: Tensor
) -> None:
    again = load_pool(folder)
    subnet = supernet.space.draw(Random(1))
    first, second = (extract(net, subnet).features(images) for net in (supernet, again))
    assert (again.space, again.template, again.active) == (supernet.space, supernet.template, supernet.active)
    assert not again.training
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_specification_is_read_without_the_weights(supernet: SuperNet, folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    spec = load_pool_spec(folder)
    assert (spec.space, spec.template, spec.origin) == (supernet.space, supernet.template, ORIGIN)
    with pytest.raises(InputMissing, match=WEIGHTS_FILE):
        load_pool(folder)


def test_saving_twice_gives_the_same_bytes(supernet: SuperNet, folder: Path, tmp_path: Path) -> None:
    save_pool(load_pool(folder), tmp_path / "again", origin=ORIGIN)
    for name in (WEIGHTS_FILE, POOL_FILE):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_one_flipped_bit_in_the_weights_is_seen(folder: Path) -> None:
    weights = bytearray((folder / WEIGHTS_FILE).read_bytes())
    weights[-5] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(weights)
    with pytest.raises(CheckpointError, match="damaged"):
        load_pool(folder)


def test_weights_of_another_space_are_refused_by_name(folder: Path) -> None:
    data = read_json(folder / POOL_FILE)
    data["space"]["neck"] *= 2
    (folder / POOL_FILE).write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"neck\.inner_blocks\.0\.0\.weight: shape must be"):
        load_pool(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema must be 1, got 2"),
        ({"space": {"depths": [[3, 1]] * 4}}, "depths"),
        ({"template": {}}, "schema"),
        ({"weights": {}}, "sha256 is missing"),
    ],
)
def test_a_broken_specification_is_an_error_that_says_why(
    folder: Path, change: dict[str, object], message: str
) -> None:
    data = read_json(folder / POOL_FILE)
    (folder / POOL_FILE).write_text(json.dumps(data | change))
    with pytest.raises(CheckpointError, match=message):
        load_pool_spec(folder)


@pytest.mark.parametrize("text", ["", "not JSON", "[]", "{}", '{"schema": NaN}'])
def test_what_is_no_pool_is_refused(folder: Path, text: str) -> None:
    (folder / POOL_FILE).write_text(text)
    with pytest.raises(UserError, match=POOL_FILE):
        load_pool(folder)


def test_a_pool_suits_a_base_of_another_width_and_other_sampling(folder: Path) -> None:
    pool = load_pool_spec(folder)
    region = replace(pool.template.region, rois_per_image=8, proposals=(7, 7), train_proposals=(9, 9))
    base = replace(pool.template, backbone=family("r50"), neck=8, head=9, region=region)
    require_like(pool, base)


def test_a_pool_that_sees_or_boxes_in_another_way_is_refused_with_every_difference(folder: Path) -> None:
    pool = load_pool_spec(folder)
    region = replace(pool.template.region, aligned=True, pooled=5, anchor_sizes=(4, 8, 16, 32, 64))
    with pytest.raises(SettingsError) as caught:
        require_like(pool, replace(pool.template, mean=(0.1, 0.2, 0.3), region=region))
    where = ["mean", "region.anchor_sizes", "region.pooled", "region.aligned"]
    assert [problem.where for problem in caught.value.problems] == [f"template.{name}" for name in where]
    assert (
        "pool.json: template.mean: must be the base's (0.1, 0.2, 0.3), got (0.485, 0.456, 0.406); take a"
        in str(caught.value)
    )


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="nowhere"):
        load_pool(tmp_path / "nowhere")
