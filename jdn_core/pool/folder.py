"""A pool's folder: ``pool.json`` (space, template, origin, hash) and ``weights.safetensors``.

The weights are written first and ``pool.json`` last, so a folder that has one is whole. Searches on other
machines and other people's can use it: it needs no settings file beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import save

from jdn_core.detector.folder import WEIGHTS_FILE, filled, hash_of_weights, read_weights
from jdn_core.errors import CheckpointError, InputMissing, Problem, SettingsError, StorageError
from jdn_core.pool.supernet import SuperNet
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.reading import BROKEN, read_detector, reason
from jdn_core.space.teachers import SubnetSpace
from jdn_core.storage import durable

POOL_FILE = "pool.json"
SCHEMA = 1
_SPACE = TypeAdapter(SubnetSpace)


@dataclass(frozen=True)
class Origin:
    """Where a pool comes from; the same for a training that was cut off and resumed.

    Attributes:
        settings: those that its training depended on, as plain data.
        dataset: fingerprint of the training split; empty where it is not known.
        curves: phase -> loss -> its mean in every epoch.
    """

    settings: Mapping[str, Any]
    dataset: str = ""
    curves: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class PoolSpec:
    """What ``pool.json`` says of a pool.

    Attributes:
        space: its subnets.
        template: classes, regions and normalisation of every subnet's detector.
        origin: settings, data and curves of its training.
        sha256: of the weights' file.
    """

    space: SubnetSpace
    template: DetectorSpec
    origin: Origin
    sha256: str


def save_pool(supernet: SuperNet, folder: Path, *, origin: Origin) -> durable.Written:
    """Writes both files durably, replacing what is there; gives size and SHA-256 of the weights."""
    state = {name: value.detach().cpu().contiguous() for name, value in supernet.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    written = durable.write_bytes(folder / WEIGHTS_FILE, save(state))
    data = {
        "space": _SPACE.dump_python(supernet.space, mode="json"),
        "template": supernet.template.to_json(),
        **asdict(origin),
        "weights": {"sha256": written.sha256, "bytes": written.bytes},
    }
    durable.write_json(folder / POOL_FILE, data, schema=SCHEMA, seal=True)
    return written


def load_pool(folder: Path, device: str | torch.device = "cpu") -> SuperNet:
    """Reads a folder back, on ``device`` and in eval mode, with the largest subnet active.

    Raises:
        InputMissing: a file is not there.
        CheckpointError: a file is damaged, a pickle, or does not fit the space; all that is wrong is named.
    """
    spec = load_pool_spec(folder)
    state = read_weights(folder / WEIGHTS_FILE, spec.sha256)
    return filled(lambda: SuperNet(spec.space, spec.template), state, folder / POOL_FILE, device)


def require_like(pool: PoolSpec, base: DetectorSpec) -> None:
    """Refuses teachers that see or box pictures in another way than the students that learn from them.

    How wide they are, and how many regions they sample, may differ.

    Raises:
        SettingsError: normalisation, anchors or RoIAlign of the pool are not the base's; all are named.
    """
    remedy = "take a pool trained under the base's detector settings: pool.json holds those of this one"
    problems = [
        Problem(POOL_FILE, f"template.{name}", f"must be the base's {theirs}", str(ours), remedy)
        for name, ours, theirs in [
            *((name, getattr(pool.template, name), getattr(base, name)) for name in ("mean", "std")),
            *(
                (f"region.{name}", getattr(pool.template.region, name), getattr(base.region, name))
                for name in ("anchor_sizes", "aspect_ratios", "rounded_anchors", "pooled", "aligned")
            ),
        ]
        if ours != theirs
    ]
    if problems:
        raise SettingsError.of(problems)


def load_pool_spec(folder: Path) -> PoolSpec:
    """Reads what a pool is, without its weights; raises as ``load_pool`` does."""
    path = folder / POOL_FILE
    if not path.is_file():
        raise InputMissing(f"{path}: no such file; a pool's folder holds {POOL_FILE} and {WEIGHTS_FILE}")
    try:
        data = durable.read_json(path, schema=SCHEMA)
        space = _SPACE.validate_python(data["space"])
        template = read_detector(data["template"])
        origin = Origin(data["settings"], data["dataset"], data["curves"])
        return PoolSpec(space, template, origin, hash_of_weights(path, data))
    except StorageError as error:
        raise CheckpointError(str(error)) from error
    except BROKEN as error:
        raise CheckpointError(f"{path}: not a pool's specification: {reason(error)}") from error
