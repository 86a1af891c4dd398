from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from jdn_core.detector.folder import (
    SPEC_FILE,
    WEIGHTS_FILE,
    load_detector,
    load_spec,
    require_weights,
    save_detector,
)
from jdn_core.errors import CheckpointError, InputMissing, StorageError
from jdn_core.storage.durable import read_json, sha256_of
from tests.jdn_core.tiny import SIZES, grown, images, tiny_spec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_detector(grown(tiny_spec("r50")), tmp_path / "detector")
    return tmp_path / "detector"


def _replace_weights(folder: Path, data: bytes) -> None:
    """New weights with the hash that belongs to them, so that only their content can be refused."""
    (folder / WEIGHTS_FILE).write_bytes(data)
    spec = read_json(folder / SPEC_FILE)
    spec["weights"]["sha256"] = sha256_of(folder / WEIGHTS_FILE)
    (folder / SPEC_FILE).write_text(json.dumps(spec))


def test_a_saved_detector_detects_the_same(tmp_path: Path) -> None:
    detector = grown(tiny_spec())
    written = save_detector(detector, tmp_path / "new" / "detector")
    loaded = load_detector(tmp_path / "new" / "detector")
    assert loaded.spec == detector.spec == load_spec(tmp_path / "new" / "detector")
    assert written.sha256 == sha256_of(tmp_path / "new" / "detector" / WEIGHTS_FILE)
    for before, after in zip(detector.detect(images(), SIZES), loaded.detect(images(), SIZES), strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_same_weights_have_the_same_hash(tmp_path: Path) -> None:
    detector = grown(tiny_spec())
    first = save_detector(detector, tmp_path / "first")
    assert save_detector(load_detector(tmp_path / "first"), tmp_path / "second") == first


def test_saving_again_replaces(folder: Path) -> None:
    save_detector(grown(tiny_spec("r18")), folder)
    assert load_detector(folder).spec == tiny_spec("r18")
    assert sorted(path.name for path in folder.iterdir()) == [SPEC_FILE, WEIGHTS_FILE]


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/detector: Not a directory"):
        save_detector(grown(tiny_spec()), tmp_path / "file" / "detector")


@pytest.mark.parametrize("name", [SPEC_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputMissing, match=name):
        load_detector(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    ],
)
def test_damaged_weights_are_found_by_their_hash(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(CheckpointError, match="SHA-256 must be"):
        load_detector(folder)


@pytest.mark.parametrize("data", [b"", b"\x10", b"no tensors in here at all"])
def test_what_is_not_safetensors_is_refused(folder: Path, data: bytes) -> None:
    _replace_weights(folder, data)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_detector(folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused(folder: Path, zipped: bool) -> None:
    torch.save({"x": torch.zeros(1)}, folder / "pickle", _use_new_zipfile_serialization=zipped)
    _replace_weights(folder, (folder / "pickle").read_bytes())
    with pytest.raises(CheckpointError, match="pickle"):
        load_detector(folder)


def test_weights_whose_first_byte_is_a_pickles_are_read(folder: Path) -> None:
    state = load_file(folder / WEIGHTS_FILE)
    files = (save(state, metadata={"note": "x" * length}) for length in range(0, 300, 8))
    _replace_weights(folder, next(data for data in files if data[0] == 0x80))
    assert load_detector(folder).spec == tiny_spec("r50")


def _without(state: dict[str, Tensor], name: str) -> None:
    del state[name]


def _with(state: dict[str, Tensor], name: str, change: Callable[[Tensor], Tensor]) -> None:
    state[name] = change(state[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: _without(s, "backbone.stem.conv.weight"), "backbone.stem.conv.weight: tensor is missing"),
        (lambda s: s.update(extra=torch.zeros(2)), "extra: tensor is unexpected"),
        (
            lambda s: _with(s, "backbone.stem.bn.bias", lambda t: torch.cat([t, t])),
            r"backbone.stem.bn.bias: shape must be \[8\], got \[16\]",
        ),
        (
            lambda s: _with(s, "backbone.stem.bn.bias", lambda t: t.double()),
            "backbone.stem.bn.bias: type must be torch.float32, got torch.float64",
        ),
        (
            lambda s: s["roi.box_predictor.cls_score.bias"].fill_(torch.nan),
            "roi.box_predictor.cls_score.bias: values must be finite, got 3 that are not",
        ),
        (
            lambda s: s["backbone.stem.bn.running_var"].fill_(-0.5),
            "backbone.stem.bn.running_var: variances must be >= 0, got -0.5",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(
    folder: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    state = load_file(folder / WEIGHTS_FILE)
    change(state)
    _replace_weights(folder, save(state))
    with pytest.raises(CheckpointError, match=message):
        load_detector(folder)


def test_all_that_does_not_fit_is_said_at_once(folder: Path) -> None:
    state = load_file(folder / WEIGHTS_FILE)
    _replace_weights(folder, save({name: value for name, value in state.items() if "stages.3" not in name}))
    with pytest.raises(CheckpointError) as caught:
        load_detector(folder)
    assert len(caught.value.problems) == sum("stages.3" in name for name in state)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("neck", "x", "detector.json: not a detector's specification: neck: input should be a valid integer"),
        ("neck", True, "neck: input should be a valid integer, got True"),
        ("neck", -1, "detector.json: no module can be built so: Trying to create tensor with negative"),
        ("neck", 10**9, "detector.json: no module can be built so: Storage size calculation overflowed"),
        ("head", 10**8, r"weights.safetensors: roi.box_head.fc6.bias: shape must be \[100000000\]"),
        ("mean", ["a", 0, 0], "mean.0: input should be a valid number, got 'a'"),
        ("region.pooled", 10**6, r"fc6.weight: shape must be \[24, 16000000000000\], got \[24, 784\]"),
        ("region.nms_iou", [], r"region.nms_iou: input should be a valid number, got \[\]"),
        ("backbone.stages.0.0.born", None, "backbone.stages.0.0.born: input should be a valid integer"),
        ("weights.sha256", 5, "damaged: SHA-256 must be 5, got "),
    ],
)
def test_a_specification_of_wrong_values_is_refused_before_memory_is_taken(
    folder: Path, place: str, value: object, message: str
) -> None:
    data = read_json(folder / SPEC_FILE)
    *parents, last = place.split(".")
    node = data
    for name in parents:
        node = node[int(name) if name.isdecimal() else name]
    node[last] = value
    (folder / SPEC_FILE).write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=message):
        load_detector(folder)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"schema": NaN}',
        '{"schema": 1, "schema": 1}',
        "",
        "[]",
        "{}",
        "{",
        '{"schema": 99}',
        '{"schema": 1, "region": []}',
        '{"schema": 1}',
    ],
)
def test_a_broken_specification_is_refused(folder: Path, text: str) -> None:
    (folder / SPEC_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=SPEC_FILE):
        load_detector(folder)


def test_a_specification_without_a_hash_is_refused(folder: Path) -> None:
    (folder / SPEC_FILE).write_text(json.dumps(tiny_spec("r50").to_json()))
    with pytest.raises(CheckpointError, match=r"weights\.sha256 is missing"):
        load_detector(folder)


def test_a_folder_that_vouches_for_other_weights_is_refused(folder: Path) -> None:
    require_weights(folder, sha256_of(folder / WEIGHTS_FILE))
    with pytest.raises(CheckpointError, match="weights must have SHA-256 0000"):
        require_weights(folder, "0" * 64)
