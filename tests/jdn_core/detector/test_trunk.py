"""The trunk beside a detector: read back exactly, found damaged, missed only where there was one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jdn_core.detector.folder import load_detector, save_detector
from jdn_core.detector.trunk import (
    TRUNK_FILE,
    TRUNK_SPEC_FILE,
    Trunk,
    has_trunk,
    load_trunk,
    save_trunk,
    trunk_of,
)
from jdn_core.errors import CheckpointError, InputMissing
from jdn_core.storage import durable
from tests.jdn_core.tiny import grown, tiny_spec


@pytest.fixture
def trunk() -> Trunk:
    detector = grown(tiny_spec())
    return Trunk(detector, {name: torch.randn_like(tensor) for name, tensor in detector.named_parameters()})


@pytest.fixture
def folder(trunk: Trunk, tmp_path: Path) -> Path:
    """Another detector of the same architecture with the trunk beside it."""
    save_detector(grown(tiny_spec()), tmp_path)
    save_trunk(trunk, tmp_path)
    return tmp_path


def test_a_trunk_is_read_back_and_the_detector_beside_it_stays(folder: Path, trunk: Trunk) -> None:
    found = load_trunk(folder)
    wanted, measured = trunk.detector.state_dict(), load_detector(folder).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.detector.state_dict().items())
    assert found.momentum.keys() == trunk.momentum.keys()
    assert all(torch.equal(tensor, trunk.momentum[name]) for name, tensor in found.momentum.items())
    assert not torch.equal(measured["rpn.head.cls_logits.weight"], wanted["rpn.head.cls_logits.weight"])


def test_without_a_trunk_the_detector_is_gone_on_with(tmp_path: Path) -> None:
    detector = grown(tiny_spec())
    save_detector(detector, tmp_path)
    found, state = load_trunk(tmp_path), detector.state_dict()
    assert not has_trunk(tmp_path)
    assert found.momentum == {}
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.detector.state_dict().items())


def test_a_part_of_what_was_trained_becomes_a_trunk(trunk: Trunk) -> None:
    last = {f"model.student.{name}": tensor for name, tensor in trunk.detector.state_dict().items()}
    last |= {f"momentum.student.{name}": tensor for name, tensor in trunk.momentum.items()}
    last |= {"model.distiller.weight": torch.ones(1), "momentum.distiller.weight": torch.ones(1)}
    measured = grown(tiny_spec())
    found = trunk_of(measured, last, place="student.")
    state = found.detector.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trunk.detector.state_dict().items())
    assert found.momentum.keys() == trunk.momentum.keys()


def test_a_trunk_that_is_gone_is_missed(folder: Path) -> None:
    (folder / TRUNK_FILE).unlink()
    assert has_trunk(folder)
    with pytest.raises(InputMissing, match=TRUNK_FILE):
        load_trunk(folder)


@pytest.mark.parametrize("name", [TRUNK_FILE, TRUNK_SPEC_FILE])
def test_a_damaged_trunk_is_not_taken(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=name):
        load_trunk(folder)


def test_a_trunk_of_another_detector_is_refused_with_all_that_is_wrong(folder: Path) -> None:
    tensors = load_file(folder / TRUNK_FILE)
    del tensors["model.rpn.head.cls_logits.bias"]
    tensors["momentum.rpn.head.cls_logits.bias"] = torch.zeros(1)
    tensors["momentum.nothing"] = torch.zeros(1)
    save_file(tensors, folder / TRUNK_FILE)
    weights = {"sha256": durable.sha256_of(folder / TRUNK_FILE)}
    durable.write_json(folder / TRUNK_SPEC_FILE, {"weights": weights}, schema=1, seal=True)
    with pytest.raises(CheckpointError) as caught:
        load_trunk(folder)
    what = {(problem.where, problem.what) for problem in caught.value.problems}
    assert what == {
        ("rpn.head.cls_logits.bias", "tensor is missing"),
        ("rpn.head.cls_logits.bias", "shape must be [3]"),
        ("nothing", "tensor is unexpected"),
    }
