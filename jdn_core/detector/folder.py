"""A detector's folder: ``detector.json`` (specification, hash of the weights) and ``weights.safetensors``.

The weights are written first and ``detector.json`` last, so a folder that has one is whole. Nothing is
unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from jdn_core.detector.build import Detector, weightless
from jdn_core.detector.file_kind import file_kind
from jdn_core.errors import CheckpointError, InputMissing, Problem, StorageError
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.reading import BROKEN, read_detector, reason
from jdn_core.storage.durable import Written, read_json, read_verified, write_bytes, write_json

M = TypeVar("M", bound=nn.Module)

SPEC_FILE = "detector.json"
WEIGHTS_FILE = "weights.safetensors"


def save_detector(detector: Detector, folder: Path) -> Written:
    """Writes both files durably, replacing what is there; gives size and SHA-256 of the weights.

    Raises:
        StorageError: the disk is full, or no folder can be made there.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in detector.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}") from error
    written = write_bytes(folder / WEIGHTS_FILE, save(state))
    weights = {"sha256": written.sha256, "bytes": written.bytes}
    write_json(folder / SPEC_FILE, {**detector.spec.to_json(), "weights": weights}, seal=True)
    return written


def load_detector(folder: Path, device: str | torch.device = "cpu") -> Detector:
    """Reads a folder back, on ``device`` and in eval mode.

    Raises:
        InputMissing: a file is not there.
        CheckpointError: a file is damaged, a pickle, or does not fit the specification; all that is wrong is
        named.
    """
    data, spec = _read_spec(folder / SPEC_FILE)
    state = read_weights(folder / WEIGHTS_FILE, hash_of_weights(folder / SPEC_FILE, data))
    return filled(lambda: Detector(spec), state, folder / SPEC_FILE, device)


def load_spec(folder: Path) -> DetectorSpec:
    """Reads the specification alone, without the weights; raises as ``load_detector`` does."""
    return _read_spec(folder / SPEC_FILE)[1]


def require_weights(folder: Path, sha256: str) -> None:
    """Refuses a detector whose specification vouches for other weights than the ones of this hash.

    Raises:
        InputMissing, CheckpointError: as ``load_detector`` does, and where the hashes differ.
    """
    data, _ = _read_spec(folder / SPEC_FILE)
    if (got := hash_of_weights(folder / SPEC_FILE, data)) != sha256:
        raise CheckpointError(f"{folder / SPEC_FILE}: weights must have SHA-256 {sha256}, got {got}")


def filled(
    make: Callable[[], M], state: Mapping[str, Tensor], spec_file: Path, device: str | torch.device
) -> M:
    """Builds a module with these weights, in eval mode; it takes memory only once they are known to fit.

    Args:
        make: builds the module; it is called for the meta device.
        state: the weights.
        spec_file: where its specification stands, for messages; the weights are beside it.
        device: where the module is to be.

    Raises:
        CheckpointError: there is no such module, or the weights do not fit it; all that is wrong is named.
    """
    try:
        with weightless():
            module = make()
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{spec_file}: no module can be built so: {reason(error)}") from error
    if problems := state_problems(module.state_dict(), state, file=WEIGHTS_FILE):
        raise CheckpointError.of(problems)
    module.to_empty(device=device).load_state_dict(state)
    return module.eval()


def state_problems(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], *, file: str) -> list[Problem]:
    """Lists all reasons against loading ``got`` into ``expected``; empty if it fits."""
    problems = [Problem(file, name, "tensor is missing") for name in expected if name not in got]
    problems += [Problem(file, name, "tensor is unexpected") for name in got if name not in expected]
    for name in expected.keys() & got.keys():
        wanted, tensor = expected[name], got[name]
        if tensor.shape != wanted.shape:
            problems.append(
                Problem(file, name, f"shape must be {list(wanted.shape)}", str(list(tensor.shape)))
            )
        elif tensor.dtype != wanted.dtype:
            problems.append(Problem(file, name, f"type must be {wanted.dtype}", str(tensor.dtype)))
        elif not torch.isfinite(tensor).all():
            problems.append(
                Problem(
                    file, name, "values must be finite", f"{int((~tensor.isfinite()).sum())} that are not"
                )
            )
        elif name.endswith("running_var") and bool((tensor < 0).any()):
            problems.append(Problem(file, name, "variances must be >= 0", f"{tensor.min().item():g}"))
    return sorted(problems, key=lambda problem: problem.where)


def _read_spec(path: Path) -> tuple[dict[str, Any], DetectorSpec]:
    if not path.is_file():
        raise InputMissing(f"{path}: no such file; a detector's folder holds {SPEC_FILE} and {WEIGHTS_FILE}")
    try:
        data = read_json(path)
        return data, read_detector(data)
    except StorageError as error:
        raise CheckpointError(str(error)) from error
    except BROKEN as error:
        raise CheckpointError(f"{path}: not a detector's specification: {reason(error)}") from error


def hash_of_weights(path: Path, data: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of the weights in a JSON file's data; raises CheckpointError if it has none."""
    try:
        return str(data["weights"]["sha256"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: weights.sha256 is missing") from error


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Reads tensors by name from a safetensors file if its hash holds; raises as ``load_detector`` does."""
    if not path.is_file():
        raise InputMissing(f"{path}: no such file")
    if file_kind(path) == "pickle":
        raise CheckpointError(
            f"{path}: this is a pickle, which may hold code and is never read; save as safetensors"
        )
    contents = read_verified(path, sha256)
    try:
        return load(contents)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: not a safetensors file: {error}") from error
