"""Every bad checkpoint of the contract, in the exact words: ours, of other libraries, bases and pools."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flows.inputs.settings_file import dump
from jdn_core.detector.build import build
from jdn_core.detector.folder import SPEC_FILE, WEIGHTS_FILE, load_detector, save_detector
from jdn_core.detector.naming import TORCHVISION
from jdn_core.pool.folder import Origin, save_pool
from jdn_core.pool.supernet import SuperNet
from jdn_core.run import assemble
from jdn_core.run.checks import check_inputs
from jdn_core.settings.whole import Settings, parse
from jdn_core.storage import durable
from tests.contracts.refusals import Jdn, refusal
from tests.jdn_core.detector.foreign import state_of
from tests.jdn_core.tiny import grown, tiny_spec
from tests.tiny_run import shapes, tiny_settings

State = dict[str, Any]
ROOT = Path(__file__).parents[2]


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A sound detector's folder."""
    save_detector(grown(tiny_spec("r50")), tmp_path / "detector")
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    return tmp_path / "detector"


def predicted(detector: Path, jdn: Jdn) -> tuple[int, str, str]:
    return jdn("predict", detector, detector.parent / "photo.png")


def reseal(folder: Path) -> None:
    """Gives changed weights the hash that belongs to them."""
    data = durable.read_json(folder / SPEC_FILE)
    data["weights"]["sha256"] = durable.sha256_of(folder / WEIGHTS_FILE)
    durable.write_json(folder / SPEC_FILE, data)


def flip(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[5000] ^= 1
    path.write_bytes(contents)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one bit": flip,
}


def test_a_sound_detector_predicts(detector: Path, jdn: Jdn) -> None:
    assert predicted(detector, jdn)[0] == 0


def test_a_device_that_nobody_knows(detector: Path, jdn: Jdn) -> None:
    answer = jdn("predict", detector, detector.parent / "photo.png", "--device", "tpu")
    assert answer == refusal(78, "settings: device: must be auto, cpu or cuda, got 'tpu'")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_weights_of_another_hash(damage: Callable[[Path], object], detector: Path, jdn: Jdn) -> None:
    weights = detector / WEIGHTS_FILE
    wanted = durable.sha256_of(weights)
    damage(weights)
    got = f"got {durable.sha256_of(weights)} of {weights.stat().st_size} bytes"
    assert predicted(detector, jdn) == refusal(65, f"{weights}: damaged: SHA-256 must be {wanted}, {got}")


@pytest.mark.parametrize("name", [SPEC_FILE, WEIGHTS_FILE])
def test_a_detector_of_which_a_file_is_missing(name: str, detector: Path, jdn: Jdn) -> None:
    (detector / name).unlink()
    hint = f"; a detector's folder holds {SPEC_FILE} and {WEIGHTS_FILE}" if name == SPEC_FILE else ""
    assert predicted(detector, jdn) == refusal(66, f"{detector / name}: no such file{hint}")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_for_weights(zipped: bool, detector: Path, jdn: Jdn) -> None:
    weights, made = detector / WEIGHTS_FILE, detector / "made"
    torch.save({"weights": Attack(made)}, weights, _use_new_zipfile_serialization=zipped)
    reseal(detector)
    what = "this is a pickle, which may hold code and is never read; save as safetensors"
    assert predicted(detector, jdn) == refusal(65, f"{weights}: {what}")
    assert not made.exists()


CONV = "backbone.stem.conv.weight"
BN = "backbone.stem.bn"
STATES: dict[str, tuple[Callable[[State], object], str]] = {
    "missing key": (lambda state: state.pop(CONV), f"{CONV}: tensor is missing"),
    "unexpected key": (lambda state: state.update(extra=torch.zeros(2)), "extra: tensor is unexpected"),
    "other shape": (
        lambda state: state.update({f"{BN}.bias": torch.zeros(9)}),
        f"{BN}.bias: shape must be [8], got [9]",
    ),
    "other type": (
        lambda state: state.update({f"{BN}.bias": torch.zeros(8, dtype=torch.float64)}),
        f"{BN}.bias: type must be torch.float32, got torch.float64",
    ),
    "NaN": (
        lambda state: state[f"{BN}.bias"].fill_(torch.nan),
        f"{BN}.bias: values must be finite, got 8 that are not",
    ),
    "negative variance": (
        lambda state: state[f"{BN}.running_var"].fill_(-0.5),
        f"{BN}.running_var: variances must be >= 0, got -0.5",
    ),
}


@pytest.mark.parametrize(("change", "line"), STATES.values(), ids=STATES)
def test_weights_that_do_not_fit(
    change: Callable[[State], object], line: str, detector: Path, jdn: Jdn
) -> None:
    state = load_file(detector / WEIGHTS_FILE)
    change(state)
    save_file(state, detector / WEIGHTS_FILE)
    reseal(detector)
    assert predicted(detector, jdn) == refusal(65, f"{WEIGHTS_FILE}: {line}")


def test_weights_of_another_architecture(detector: Path, jdn: Jdn) -> None:
    other = save_detector(grown(tiny_spec("r18")), detector.parent / "other")
    shutil.copy(detector.parent / "other" / WEIGHTS_FILE, detector / WEIGHTS_FILE)
    reseal(detector)
    code, _, err = predicted(detector, jdn)
    first, *_, last = err.splitlines()
    assert other.sha256 == durable.sha256_of(detector / WEIGHTS_FILE)
    assert (code, first) == (
        65, f"ERROR 65 {WEIGHTS_FILE}: backbone.stages.0.0.bn3.bias: tensor is missing"
    )  # fmt: skip
    assert re.fullmatch(r"ERROR 65 \.\.\. and \d+ more", last)


SPECIFICATIONS = {
    "cut off": (lambda text: "[", "not valid JSON: Expecting value: line 1 column 2 (char 1)"),
    "wrong type": (lambda text: text.replace('"neck": 16', '"neck": "16"'),
                   "not a detector's specification: neck: input should be a valid integer, got '16'"),
    "impossible": (lambda text: text.replace('"neck": 16', '"neck": -16'), "no module can be built so: "
                   "Trying to create tensor with negative dimension -16: [-16, 32, 1, 1]"),
    "other schema": (lambda text: text.replace('"schema": 1', '"schema": 9'),
                     "not a detector's specification: detector.json: schema must be 1, got 9; "
                     "update jdn, a newer version wrote it"),
    "nothing in it": (lambda text: "{}", "not a detector's specification: "
                      "detector.json: schema must be 1, got None; it is no such file of jdn"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "line"), SPECIFICATIONS.values(), ids=SPECIFICATIONS)
def test_a_specification_that_is_none(
    change: Callable[[str], str], line: str, detector: Path, jdn: Jdn
) -> None:
    data = durable.read_json(detector / SPEC_FILE)
    (detector / SPEC_FILE).write_text(change(json.dumps(data)))
    assert predicted(detector, jdn) == refusal(65, f"{detector / SPEC_FILE}: {line}")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return tiny_settings(shapes(tmp_path_factory.mktemp("data") / "shapes"))


@pytest.fixture(scope="module")
def sound(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint under torchvision's names, a base and a pool that suit the settings."""
    folder = tmp_path_factory.mktemp("sound")
    torch.manual_seed(0)
    spec = assemble.base_spec(settings)
    torch.save(state_of(build(spec), TORCHVISION), folder / "weights.pth")
    save_detector(build(spec), folder / "base")
    save_pool(SuperNet(settings.subnet_space, spec), folder / "pool", origin=Origin({}))
    return folder


@pytest.fixture
def parts(sound: Path, settings: Settings, tmp_path: Path) -> Path:
    """A copy of them to break, and the settings beside them."""
    shutil.copytree(sound, tmp_path / "parts")
    (tmp_path / "parts" / "s.yaml").write_text(dump(settings))
    return tmp_path / "parts"


def began_with(parts: Path, jdn: Jdn, head: str = "keep") -> tuple[int, str, str]:
    """``jdn upgrade`` from the checkpoint of another library."""
    file = f"detector.pretrained={parts / 'weights.pth'}"
    sets = ("--set", file, "--set", f"detector.checkpoint.head={head}")
    return jdn("upgrade", parts / "s.yaml", *sets, "--out", parts / "out")


def searched(parts: Path, jdn: Jdn, *options: str) -> tuple[int, str, str]:
    stages = ("--base", parts / "base", "--pool", parts / "pool")
    return jdn("search", parts / "s.yaml", *options, *stages, "--out", parts / "out")


def test_sound_parts_are_let_through(settings: Settings, parts: Path) -> None:
    check_inputs(settings, parts)
    file = {"pretrained": str(parts / "weights.pth"), "checkpoint": {"head": "keep"}}
    changed = settings.model_dump(mode="json")
    check_inputs(parse(changed | {"detector": changed["detector"] | file}), parts / "nowhere")


WHOLE = 'save the weights alone, as torch.save(model.state_dict(), "weights.pth") or as safetensors'
CODE = f"which is code or may run code, so nothing of it was read; {WHOLE}"
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "of another kind": (
        lambda path: path.write_text("<html>404</html>"),
        "neither a safetensors file nor one of torch.save",
    ),
    "truncated": (
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        f"damaged, or more than weights: PytorchStreamReader failed reading zip archive: "
        f"failed finding central directory; {WHOLE}",
    ),
    "code": (
        lambda path: torch.save({"x": Attack(path.parent / "made")}, path),
        f"holds posix.mkdir, {CODE}",
    ),
    "bare pickle": (
        lambda path: path.write_bytes(pickle.dumps({"x": Attack(path.parent / "made")}, protocol=2)),
        f"holds posix.mkdir, {CODE}",
    ),
    "a module": (
        lambda path: torch.save(torch.nn.Linear(1, 1), path),
        f"holds torch.nn.modules.linear.Linear, {CODE}",
    ),
    "a list": (lambda path: torch.save([1], path), f"must hold tensors by name, got list; {WHOLE}"),
    "of no detector": (
        lambda path: torch.save({"encoder.weight": torch.ones(1)}, path),
        "names no detector of torchvision, Detectron2, MMDetection, ImageNet classifier; "
        "it begins with ['encoder.weight']",
    ),
}


@pytest.mark.parametrize(("damage", "line"), FOREIGN.values(), ids=FOREIGN)
def test_a_file_of_another_library(
    damage: Callable[[Path], object], line: str, parts: Path, jdn: Jdn
) -> None:
    damage(parts / "weights.pth")
    assert began_with(parts, jdn) == refusal(65, f"{parts / 'weights.pth'}: {line}")
    assert not (parts / "made").exists()
    assert not (parts / "out" / "settings.yaml").exists()


CONV1 = "backbone.body.conv1.weight"
BN1 = "backbone.body.bn1"
TENSORS: dict[str, tuple[Callable[[State], object], str]] = {
    "not a tensor": (
        lambda state: state.update({CONV1: [1]}),
        f"{CONV1}: must be a tensor, got list; {WHOLE}",
    ),
    "odd numbers": (
        lambda state: state.update({CONV1: torch.ones(2, dtype=torch.complex64)}),
        f"{CONV1}: must be a tensor of usual numbers, got torch.complex64, torch.strided, [2]; {WHOLE}",
    ),
    "a terabyte in a byte": (
        lambda state: state.update({CONV1: torch.ones(1).half().expand(10**6, 10**6)}),
        f"{CONV1}: must be a tensor with a place for each of its numbers, "
        f"got torch.float16, torch.strided, [1000000, 1000000]; {WHOLE}",
    ),
    "name twice": (
        lambda state: state.update({f"module.{CONV1}": state[CONV1]}),
        f"{CONV1}: tensor occurs twice",
    ),
    "missing key": (lambda state: state.pop(f"{BN1}.bias"), f"{BN1}.bias: tensor is missing"),
    "unexpected key": (
        lambda state: state.update({"backbone.extra": torch.ones(1)}),
        "backbone.extra: tensor is unexpected",
    ),
    "other shape": (
        lambda state: state.update({CONV1: torch.ones(8, 3, 3, 3)}),
        f"{CONV1}: shape must be [8, 3, 7, 7], got [8, 3, 3, 3]",
    ),
    "NaN": (
        lambda state: state[CONV1].view(-1)[:2].fill_(torch.nan),
        f"{CONV1}: values must be finite, got 2 that are not",
    ),
    "negative variance": (
        lambda state: state[f"{BN1}.running_var"].fill_(-1),
        f"{BN1}.running_var: variances must be >= 0, got -1",
    ),
}


@pytest.mark.parametrize(("change", "line"), TENSORS.values(), ids=TENSORS)
def test_weights_of_another_library(
    change: Callable[[State], object], line: str, parts: Path, jdn: Jdn
) -> None:
    state = torch.load(parts / "weights.pth", weights_only=True)
    change(state)
    torch.save(state, parts / "weights.pth")
    assert began_with(parts, jdn) == refusal(65, f"weights.pth: {line}")


def test_a_class_head_that_does_not_suit_the_data(parts: Path, jdn: Jdn) -> None:
    remedy = "detector.checkpoint.head: new begins with a fresh class head"
    named = "name them in detector.checkpoint.classes, or keep them with detector.checkpoint.head: keep"
    what = f"has 6 classes without names; {named}; {remedy}"
    assert began_with(parts, jdn, head="by_name") == refusal(65, f"weights.pth: {what}")


def without_a_class(folder: Path) -> None:
    detector = load_detector(folder)
    spec = replace(detector.spec, classes=detector.spec.classes[:5])
    save_detector(build(spec), folder)


STAGES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no base": (
        lambda parts: shutil.rmtree(parts / "base"),
        66,
        "{parts}/base: no such folder; `jdn train-base` makes one",
    ),
    "no pool": (
        lambda parts: shutil.rmtree(parts / "pool"),
        66,
        "{parts}/pool: no such folder; `jdn train-pool` makes one",
    ),
    "base of other classes": (
        lambda parts: without_a_class(parts / "base"),
        65,
        "base/detector.json: classes: must be the dataset's 6 classes, "
        "got 5, differing [(6, 'cross')]; take a base trained on this dataset",
    ),
    "pool without its file": (
        lambda parts: (parts / "pool" / "pool.json").unlink(),
        66,
        "{parts}/out/pool/pool.json: no such file; a pool's folder holds pool.json and weights.safetensors",
    ),
    "pool that is none": (
        lambda parts: (parts / "pool" / "pool.json").write_text('{"schema": 1}'),
        65,
        "{parts}/out/pool/pool.json: not a pool's specification: 'space' is missing",
    ),
}


@pytest.mark.parametrize(("change", "code", "line"), STAGES.values(), ids=STAGES)
def test_a_base_or_a_pool_from_elsewhere(
    change: Callable[[Path], object], code: int, line: str, parts: Path, jdn: Jdn
) -> None:
    change(parts)
    assert searched(parts, jdn) == refusal(code, line.format(parts=parts))
    assert not (parts / "out" / "settings.yaml").exists()
    assert not (parts / "out" / "base").exists()


def test_a_pool_of_another_space(parts: Path, settings: Settings, jdn: Jdn) -> None:
    code, _, err = searched(parts, jdn, "--set", "pool.space.neck=32")
    assert (code, len(err.splitlines())) == (78, 1)
    assert err.startswith("ERROR 78 settings: pool.space: the pool has SubnetSpace(")
    assert err.endswith("; copy pool.space from the settings that the pool was trained under\n")


def test_a_damaged_pool(parts: Path, jdn: Jdn) -> None:
    weights = parts / "pool" / WEIGHTS_FILE
    wanted = durable.sha256_of(weights)
    flip(weights)
    got = f"got {durable.sha256_of(weights)} of {weights.stat().st_size} bytes"
    taken = parts / "out" / "pool" / WEIGHTS_FILE
    assert searched(parts, jdn) == refusal(65, f"{taken}: damaged: SHA-256 must be {wanted}, {got}")


def test_nothing_ever_unpickles_freely() -> None:
    sources = [
        path for room in ("jdn_core", "tasks", "flows", "deployments") for path in (ROOT / room).rglob("*.py")
    ]
    loads = [
        line
        for path in sources
        for line in path.read_text().splitlines()
        if re.search(r"(?<![\w.])torch\.load\(", line)
    ]
    assert [line for line in loads if "weights_only=True" not in line] == []
    free = re.compile(
        r"weights_only=False|^\s*(import|from) (pickle|dill|cloudpickle|joblib)\b|\.unsafe_load|FullLoader"
    )
    assert [
        path.name for path in sources if any(free.search(line) for line in path.read_text().splitlines())
    ] == []
