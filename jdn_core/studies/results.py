"""What became of an arm under one seed: a sealed folder with the detector, its numbers and its matches.

``arm.json`` is written last, and names the SHA-256 of the other files.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jdn_core.errors import CheckpointError, StorageError
from jdn_core.evaluation.bootstrap import ClassMatches, Matches
from jdn_core.search.records import hashes_of, read_sealed
from jdn_core.space.architecture import Resolution
from jdn_core.storage import durable
from jdn_core.storage.schemas import require_schema
from jdn_core.studies.costs import Cost

SCHEMA = 1  # of arm.json
ARM_FILE, MATCHES_FILE = "arm.json", "matches.safetensors"
_FIELDS = ClassMatches._fields


@dataclass(frozen=True)
class Numbers:
    """What was measured of an arm's detector.

    Attributes:
        resolution: chosen on the validation split.
        params: of the detector.
        macs_by: multiply-accumulates of one image at every resolution, by its text.
        ap_val: AP at every resolution on the validation split.
        ap: AP at the chosen one, on the photos that the study compares on.
        bn_weight: mean of |weight| over the BN layers of the backbone.
        score: H as a linear function of AP there: H = score[0] + score[1] * AP.
    """

    resolution: Resolution
    params: int
    macs_by: Mapping[str, int]
    ap_val: Mapping[str, float]
    ap: float
    bn_weight: float
    score: tuple[float, float]

    @property
    def macs(self) -> int:
        """Returns the MACs of one image at the chosen resolution."""
        return self.macs_by[str(self.resolution)]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "resolution": str(self.resolution), "score": list(self.score)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Numbers:
        changes = {"resolution": Resolution.parse(data["resolution"]), "score": tuple(data["score"])}
        return cls(**{**data, **changes})


@dataclass(frozen=True)
class ArmResult:
    """An arm under one seed.

    Attributes:
        key: of the arm.
        seed: of every draw.
        cost: of all trainings that led to the detector, the base's among them where it begins with that.
        numbers: none where it failed.
        reason: of the failure, such as ``nan: epoch 2 step 17``.
        files: name of every other file of the folder -> SHA-256.
    """

    key: str
    seed: int
    cost: Cost
    numbers: Numbers | None = None
    reason: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        numbers = None if self.numbers is None else self.numbers.to_json()
        return {**vars(self), "cost": self.cost.to_json(), "numbers": numbers, "files": dict(self.files)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ArmResult:
        """Raises FormatError for another schema, and ValueError, KeyError or TypeError for broken data."""
        require_schema(data, SCHEMA, ARM_FILE)
        numbers = None if data["numbers"] is None else Numbers.from_json(data["numbers"])
        known = {name: data[name] for name in ("key", "seed", "reason", "files")}
        return cls(**known, cost=Cost(**data["cost"]), numbers=numbers)


def read(folder: Path, *, key: str) -> ArmResult | None:
    """Returns the result in a folder; none where there is no whole one of this arm."""
    try:
        result = read_sealed(folder / ARM_FILE, ArmResult.from_json)
    except FileNotFoundError:
        return None
    except StorageError:
        durable.set_aside(folder)
        return None
    return result if result.key == key else None


def staging(folder: Path) -> Path:
    """Returns a new, empty folder to be filled for ``commit``."""
    return durable.stage_folder(folder)


def commit(result: ArmResult, staged: Path, folder: Path) -> ArmResult:
    """Puts a staged folder with a detector and its matches in place, the result last."""
    whole = replace(result, files=hashes_of(staged))
    durable.write_json(staged / ARM_FILE, whole.to_json(), schema=SCHEMA, seal=True)
    if folder.exists():  # of another arm whose key begins alike
        shutil.rmtree(folder)
    durable.commit_folder(staged, folder)
    return whole


def write_matches(found: Matches, folder: Path) -> None:
    """Writes the matches of a detector, durably."""
    tensors = {"images": np.asarray(found.images, np.int64)}
    for rank, each in enumerate(found.classes):
        tensors |= {f"{rank}.{name}": np.ascontiguousarray(getattr(each, name)) for name in _FIELDS}
    durable.write_bytes(folder / MATCHES_FILE, save(tensors))


def read_matches(folder: Path, result: ArmResult) -> Matches:
    """Reads the matches of a result's detector.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / MATCHES_FILE
    try:
        tensors = load(durable.read_verified(path, result.files[MATCHES_FILE]))
    except (SafetensorError, FileNotFoundError, KeyError) as error:
        raise CheckpointError(f"{path}: not the matches of an arm: {error!r}; remove {folder}") from error
    count = sum(name.endswith(".objects") for name in tensors)
    classes = tuple(
        ClassMatches(**{name: tensors[f"{rank}.{name}"] for name in _FIELDS}) for rank in range(count)
    )
    return Matches(tuple(map(int, tensors["images"])), classes)
