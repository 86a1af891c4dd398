"""Counter-based randomness: every draw is a function of what it is for, never of what was drawn before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Stream:
    """A name for a sequence of draws, such as (seed, "pair", 7); children extend it.

    No state is kept, so nothing has to be saved in a checkpoint and no order of calls can change a draw.
    """

    path: tuple[int | str, ...]

    def child(self, *path: int | str) -> Stream:
        return Stream(self.path + path)

    @property
    def seed(self) -> int:
        """Returns 63 bits of the SHA-256 of the path."""
        digest = hashlib.sha256(json.dumps(self.path).encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def generator(self) -> torch.Generator:
        """Returns a fresh CPU generator at the stream's start."""
        return torch.Generator().manual_seed(self.seed)

    def seed_torch(self) -> None:
        """Seeds torch's own generators, which initialisation and torchvision's samplers draw from."""
        torch.manual_seed(self.seed)
