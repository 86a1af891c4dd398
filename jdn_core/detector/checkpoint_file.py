"""Checkpoints of other libraries as plain tensors by name: safetensors, or what ``torch.save`` wrote.

Pickles are read by torch's restricted unpickler alone, which knows tensors and plain containers and calls
nothing else; there is no other way in.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from jdn_core.detector.file_kind import file_kind
from jdn_core.detector.naming import NAMINGS, TORCHVISION, Conventions, Naming, naming_of
from jdn_core.detector.others import detectors_in, other_detector
from jdn_core.errors import CheckpointError, InputMissing, Problem, cut, shown

_INNER = (
    "state_dict",
    "model",
    "model_state_dict",
    "ema_state_dict",
    "model_ema",
    "ema",
    "net",
    "network",
    "weights",
)
_AGAIN = 'save the weights alone, as torch.save(model.state_dict(), "weights.pth") or as safetensors'
_REALS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WHOLES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
# torchvision's published fasterrcnn_resnet50_fpn was trained when its frozen BN had no epsilon.
_WITHOUT_EPS = "258fb6c6"
_OLD_NAMES = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file's contents.

    Attributes:
        file: its name, for messages.
        naming: the library that it comes from.
        tensors: by that library's newest names; numbers with a fraction are float32.
        classes: names of the classes by label without the background, where the file names them.
        conventions: those of the library, or what the file itself states.
    """

    file: str
    naming: Naming
    tensors: dict[str, Tensor]
    classes: tuple[str, ...] | None
    conventions: Conventions


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a file and finds out whose names it uses.

    Raises:
        InputMissing: there is no such file.
        CheckpointError: it is empty, damaged, holds code, or names no known detector.
    """
    data = _unpacked(path)
    state: Any = next((data[key] for key in _INNER if isinstance(data.get(key), Mapping)), data)
    problems = [
        Problem(path.name, cut(str(name)), f"must be a tensor{rule}", _kind(value), _AGAIN)
        for name, value in state.items()
        if (rule := _rule_against(value)) is not None
    ]
    newest = Counter(_newest(str(name)) for name in state)
    problems += [Problem(path.name, cut(name), "tensor occurs twice") for name in newest if newest[name] > 1]
    if problems:
        raise CheckpointError.of(problems)
    tensors = _detector(path, {_newest(str(name)): _plain(value) for name, value in state.items()})
    naming = _naming(path, tensors)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(naming.ignored)}
    stated = _normalisation(tensors) | _epsilon(path, naming)
    conventions = replace(naming.conventions, **stated)
    return Checkpoint(path.name, naming, kept, _classes(data.get("meta")), conventions)


def _detector(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of the one detector in a file without what wrappers put before their names.

    Raises:
        CheckpointError: the file holds several, such as a student and its teacher.
    """
    tensors.pop("n_averaged", None)  # of torch's AveragedModel
    found = dict(detectors_in(tensors))
    if len(found) > 1:
        what = f"holds several detectors, under {', '.join(sorted(found))}"
        raise CheckpointError(f"{path}: {what}; save the one that is wanted by itself")
    return {_newest(name): tensor for each in found.values() for name, tensor in each.items()} or tensors


def _naming(path: Path, tensors: Mapping[str, Tensor]) -> Naming:
    """Returns whose names these are.

    Raises:
        CheckpointError: they are another detector's, or nobody's.
    """
    known = ", ".join(naming.title for naming in NAMINGS)
    if other := other_detector(tensors):
        what = f"is {other}; what can be read is a Faster R-CNN with FPN, or a ResNet, of {known}"
        raise CheckpointError(f"{path}: {what}")
    if (naming := naming_of(tensors)) is None:
        raise CheckpointError(
            f"{path}: names no detector of {known}; it begins with {shown(list(tensors)[:3])}"
        )
    return naming


def _unpacked(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputMissing(f"{path}: no such file; detector.pretrained names a checkpoint")
    match kind := file_kind(path):
        case "empty":
            raise CheckpointError(f"{path}: the file is empty")
        case "safetensors":
            try:
                return load_file(path)
            except (SafetensorError, ValueError, OSError) as error:
                raise CheckpointError(f"{path}: not a whole safetensors file: {error}") from error
        case "pickle":
            return _unpickled(path)
        case "other":
            raise CheckpointError(f"{path}: neither a safetensors file nor one of torch.save")
    assert_never(kind)


def _unpickled(path: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings(action="ignore"):  # warnings about odd files are for torch's developers
            data = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - foreign
    except Exception as error:  # a damaged file can break the reader in any way
        if "TorchScript" in str(error):
            what = "is a TorchScript program, which is code, so nothing of it was read"
            raise CheckpointError(f"{path}: {what}; {_AGAIN}") from None
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            what = f"holds {found[1]}, which is code or may run code, so nothing of it was read"
            raise CheckpointError(f"{path}: {what}; {_AGAIN}") from None
        reason = _first_sentence(error) if type(error) is RuntimeError else type(error).__name__
        raise CheckpointError(f"{path}: damaged, or more than weights: {reason}; {_AGAIN}") from None
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path}: must hold tensors by name, got {type(data).__name__}; {_AGAIN}")
    return data


def _first_sentence(error: RuntimeError) -> str:
    """Returns what torch found, without its place in torch and its advice."""
    return re.sub(r"^\[.*?\][ .]*", "", str(error).splitlines()[0]).partition(". ")[0]


def _rule_against(value: object) -> str | None:
    """Returns the end of "must be a tensor ..." that a value fails; None for a usual, complete tensor."""
    if not isinstance(value, Tensor):
        return ""
    usual = value.layout == torch.strided and not (value.is_nested or value.is_quantized)
    if not usual or value.dtype not in _REALS + _WHOLES or value.is_meta:
        return " of usual numbers"
    whole = value.untyped_storage().nbytes() >= value.numel() * value.itemsize
    return None if whole else " with a place for each of its numbers"


def _kind(value: object) -> str:
    """Describes a value, for messages."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{value.dtype}, {value.layout}, {list(value.shape) if not value.is_nested else 'nested'}"


def _newest(name: str) -> str:
    """Returns a name without DataParallel's prefix, and as torchvision has it now."""
    name = name.removeprefix("module.")
    for pattern, replacement in _OLD_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _plain(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _classes(meta: Any) -> tuple[str, ...] | None:
    """Returns the class names that MMDetection writes beside its weights."""
    if not isinstance(meta, Mapping):
        return None
    inner = meta.get("dataset_meta")
    notes = {**meta, **(inner if isinstance(inner, Mapping) else {})}
    names = notes.get("CLASSES") or notes.get("classes")
    return tuple(map(str, names)) if isinstance(names, list | tuple) else None


def _normalisation(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns mean and std that older Detectron2 saved with its weights."""
    found = {"mean": tensors.get("pixel_mean"), "std": tensors.get("pixel_std")}
    if any(tensor is None or tensor.numel() != 3 for tensor in found.values()):
        return {}
    return {name: tuple(tensor.flatten().tolist()) for name, tensor in found.items() if tensor is not None}


def _epsilon(path: Path, naming: Naming) -> dict[str, Any]:
    if naming is not TORCHVISION:
        return {}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bn_eps": 0.0} if digest.startswith(_WITHOUT_EPS) else {}
