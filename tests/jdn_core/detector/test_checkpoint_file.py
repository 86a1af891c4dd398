from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from jdn_core.detector import checkpoint_file
from jdn_core.detector.checkpoint_file import read_checkpoint
from jdn_core.detector.naming import CLASSIFIER, DETECTRON2, TORCHVISION
from jdn_core.errors import CheckpointError, InputMissing
from tests.jdn_core.detector.foreign import save

STATE = {
    "conv1.weight": torch.ones(2),
    "fc.weight": torch.ones(3),
    "bn1.num_batches_tracked": torch.tensor(4),
}


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    ("suffix", "wrapped"),
    [(".safetensors", ""), (".pth", ""), (".pth", "state_dict"), (".pth", "model")],
)
def test_tensors_are_found_in_their_wrapping(suffix: str, wrapped: str, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(
        save({wrapped: STATE, "epoch": 3} if wrapped else STATE, tmp_path / f"a{suffix}")
    )
    assert checkpoint.naming is CLASSIFIER
    assert set(checkpoint.tensors) == {"conv1.weight", "bn1.num_batches_tracked"}
    assert checkpoint.tensors["bn1.num_batches_tracked"] == 4


def test_files_of_torch_before_1_6_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(tmp_path / "a.pth").tensors["conv1.weight"], torch.ones(2))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_does_not_run(zipped: bool, tmp_path: Path) -> None:
    made = tmp_path / "made"
    contents = {**STATE, "meta": Attack(made)}
    torch.save(contents, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"holds (posix|nt)\.mkdir, which is code or may run code"
    ) as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert not made.exists()
    assert "weights_only" not in str(caught.value)


def test_a_bare_pickle_with_code_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": Attack(tmp_path / "made")}))
    with pytest.raises(CheckpointError, match=r"a\.pkl"):
        read_checkpoint(tmp_path / "a.pkl")
    assert not (tmp_path / "made").exists()


def test_a_torchscript_program_is_code_too(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # torch calls its own format deprecated
        torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match="is a TorchScript program, which is code, so nothing"
    ) as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert "weights_only" not in str(caught.value)


UNUSUAL = {
    "sparse": torch.ones(2, 2).to_sparse(),
    "complex": torch.ones(2, dtype=torch.complex64),
    "eight bits": torch.ones(2).to(torch.float8_e4m3fn),
    "without values": torch.ones(2, device="meta"),
    "a terabyte in a byte": torch.ones(1).half().expand(10**6, 10**6),
}


@pytest.mark.parametrize("tensor", UNUSUAL.values(), ids=UNUSUAL)
def test_tensors_that_are_no_plain_numbers_are_refused(tensor: torch.Tensor, tmp_path: Path) -> None:
    path = save({**STATE, "bn1.bias": tensor}, tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=r"^a\.pth: bn1\.bias: must be a tensor (of usual|with a place)"
    ):
        read_checkpoint(path)


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    path = save({**STATE, "module.conv1.weight": torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"^a\.pth: conv1\.weight: tensor occurs twice$"):
        read_checkpoint(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("part", [10, 60, 200, -1])
def test_truncated_files_are_refused(suffix: str, part: int, tmp_path: Path) -> None:
    path = save(STATE, tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(CheckpointError, match=f"a{suffix}"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("contents", "message"),
    [(b"", "the file is empty"), (b"weights of mine", "neither a safetensors file nor one of torch.save")],
)
def test_files_that_hold_no_weights_are_refused(contents: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(contents)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([1, 2], "must hold tensors by name, got list"),
        ({"conv1.weight": 3}, "a.pth: conv1.weight: must be a tensor, got int"),
        (
            {"encoder.weight": torch.ones(1)},
            r"names no detector of torchvision, .* begins with \['encoder.weight'\]",
        ),
    ],
)
def test_contents_that_are_no_detector_are_refused(contents: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(save(contents, tmp_path / "a.pth"))


def test_a_missing_file_is_an_input_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"a\.pth: no such file; detector\.pretrained names a checkpoint"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "meta", [{"CLASSES": ("RBC", "WBC")}, {"dataset_meta": {"classes": ["RBC", "WBC"], "palette": []}}]
)
def test_mmdetection_tells_its_classes(meta: dict[str, Any], tmp_path: Path) -> None:
    state = {"backbone.conv1.weight": torch.ones(1)}
    checkpoint = read_checkpoint(save({"state_dict": state, "meta": meta}, tmp_path / "a.pth"))
    assert checkpoint.classes == ("RBC", "WBC")


def test_what_detectron2_saved_of_its_normalisation_is_believed(tmp_path: Path) -> None:
    state = {
        "backbone.bottom_up.stem.conv1.weight": torch.ones(1),
        "pixel_mean": torch.tensor([1.0, 2, 3]).view(3, 1, 1),
        "pixel_std": torch.tensor([4.0, 5, 6]).view(3, 1, 1),
    }
    checkpoint = read_checkpoint(save({"model": state}, tmp_path / "a.pth"))
    assert (checkpoint.conventions.mean, checkpoint.conventions.std) == ((1, 2, 3), (4, 5, 6))
    assert checkpoint.conventions.stride_in == DETECTRON2.conventions.stride_in == "1x1"
    assert list(checkpoint.tensors) == ["backbone.bottom_up.stem.conv1.weight"]


def test_torchvisions_published_detector_is_known_to_have_no_epsilon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save({"backbone.body.conv1.weight": torch.ones(1)}, tmp_path / "a.safetensors")
    assert read_checkpoint(path).conventions == TORCHVISION.conventions
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(checkpoint_file, "_WITHOUT_EPS", digest[:8])
    assert read_checkpoint(path).conventions.bn_eps == 0
