"""A detector in the middle of a training, and its files ``trunk.safetensors`` and ``trunk.json``.

A training at a constant rate can be gone on with from its last step. What is measured, shown and shipped is
the average of its weights, ``weights.safetensors`` in the same folder; what a child goes on from are the raw
weights and SGD's momentum, ``trunk.safetensors``. ``trunk.json`` has their hash and is written last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from jdn_core.detector.build import Detector, blank
from jdn_core.detector.folder import (
    WEIGHTS_FILE,
    hash_of_weights,
    load_detector,
    read_weights,
    state_problems,
)
from jdn_core.errors import CheckpointError, StorageError
from jdn_core.storage import durable

SCHEMA = 1  # of trunk.json
TRUNK_SPEC_FILE = "trunk.json"
TRUNK_FILE = "trunk.safetensors"
# A record's files that may be dropped from the disk while MLflow has them; the last of them is dropped last.
TENSOR_FILES = (TRUNK_FILE, WEIGHTS_FILE)


@dataclass(frozen=True, eq=False)
class Trunk:
    """Where a training goes on.

    Attributes:
        detector: has the raw weights.
        momentum: of SGD, by the detector's parameters; one that is absent has none.
    """

    detector: Detector
    momentum: Mapping[str, Tensor] = field(default_factory=dict)


def trunk_of(detector: Detector, last: Mapping[str, Tensor], *, place: str = "") -> Trunk:
    """Returns the trunk of a detector that was trained.

    Args:
        detector: with the weights that are measured.
        last: the training's last state, ``model.NAME`` and ``momentum.NAME``.
        place: of the detector in the module that was trained, such as ``student.``.
    """
    raw = blank(detector.spec, next(detector.parameters()).device)
    raw.load_state_dict(inside(last, f"model.{place}"))
    return Trunk(raw.eval(), inside(last, f"momentum.{place}"))


def save_trunk(trunk: Trunk, folder: Path) -> None:
    """Writes both files durably beside the detector's.

    Raises:
        StorageError: the disk is full.
    """
    tensors = {f"model.{name}": tensor for name, tensor in trunk.detector.state_dict().items()}
    tensors |= {f"momentum.{name}": tensor for name, tensor in trunk.momentum.items()}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    written = durable.write_bytes(folder / TRUNK_FILE, save(state))
    weights = {"sha256": written.sha256, "bytes": written.bytes}
    durable.write_json(folder / TRUNK_SPEC_FILE, {"weights": weights}, schema=SCHEMA, seal=True)


def has_trunk(folder: Path) -> bool:
    """Returns whether a detector's folder has, or had, a trunk beside the detector."""
    return (folder / TRUNK_SPEC_FILE).is_file()


def load_trunk(folder: Path, device: str | torch.device = "cpu") -> Trunk:
    """Reads what a detector's folder goes on from, in eval mode; without a trunk it is the detector itself.

    Raises:
        InputMissing: a file is not there.
        CheckpointError: a file is damaged, or does not fit the detector; all that is wrong is named.
    """
    detector = load_detector(folder, device)
    if not has_trunk(folder):
        return Trunk(detector)
    path = folder / TRUNK_SPEC_FILE
    try:
        sha256 = hash_of_weights(path, durable.read_json(path, schema=SCHEMA))
    except StorageError as error:
        raise CheckpointError(str(error)) from error
    tensors = read_weights(folder / TRUNK_FILE, sha256)
    weights, momentum = inside(tensors, "model."), inside(tensors, "momentum.")
    moved = {name: tensor for name, tensor in detector.named_parameters() if name in momentum}
    problems = [
        *state_problems(detector.state_dict(), weights, file=TRUNK_FILE),
        *state_problems(moved, momentum, file=TRUNK_FILE),
    ]
    if problems:
        raise CheckpointError.of(problems)
    detector.load_state_dict(weights)
    return Trunk(detector, {name: tensor.to(device) for name, tensor in momentum.items()})


def inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
