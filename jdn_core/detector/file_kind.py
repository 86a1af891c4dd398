"""Recognises what a weights file is by its first bytes, before anything reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

FileKind = Literal["empty", "safetensors", "pickle", "other"]

_PICKLES = (b"PK\x03\x04", b"\x80")  # torch.save's zip, and a bare pickle, which it wrote before torch 1.6


def file_kind(path: Path) -> FileKind:
    """Returns the kind of a file that is there; ``pickle`` stands for all that torch.save writes."""
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        return "empty"
    # A safetensors file begins with eight bytes of length, which may be those of a pickle, and then its JSON.
    if start[8:] == b"{":
        return "safetensors"
    return "pickle" if start.startswith(_PICKLES) else "other"
