"""What workers do in the check: look at their GPU, take its memory, train, die; importable by name."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from jdn_core import faults
from jdn_core.run import steps
from jdn_core.run.folder import Run

MEBI = 1 << 20
Mode = Literal["no", "warn", "yes"]


@dataclass(frozen=True)
class Seat:
    """Where a worker finds itself.

    Attributes:
        pid: of its process.
        device: name of the card, or ``cpu``.
        visible: how many GPUs it sees.
        held: bytes of its tensors on the device.
    """

    pid: int
    device: str
    visible: int
    held: int


_kept: list[torch.Tensor] = []  # as a job that leaks would


def sit(megabytes: int, *, device: str) -> Seat:
    """Fills memory of the device, which is then held as long as the process lives."""
    _kept.append(torch.ones(megabytes * MEBI, dtype=torch.uint8, device=device))
    if device == "cpu":
        return Seat(os.getpid(), "cpu", torch.cuda.device_count(), _kept[-1].nbytes)
    name = torch.cuda.get_device_name()
    return Seat(os.getpid(), name, torch.cuda.device_count(), torch.cuda.memory_allocated())


def take(size: int, *, device: str, seconds: float, folder: Path) -> int:
    """Takes so many bytes for a while; returns how many others had theirs at that time.

    ``folder`` is where those meet that take at the same time; beside it tries are counted.
    """
    _count(folder.with_suffix(".tries"))
    held = torch.empty(size, dtype=torch.uint8, device=device)
    mark = folder / f"{os.getpid()}"
    mark.touch()
    others = len(list(folder.iterdir())) - 1
    time.sleep(seconds)
    mark.unlink()
    return others if held.numel() else -1


def take_less(tries: Path, *, device: str, folder: Path) -> int:
    """Asks for a pebibyte at the first try and for a mebibyte at the second."""
    size = 2**50 if _count(tries) == 1 else MEBI
    return take(size, device=device, seconds=0.0, folder=folder)


def train_base_in(run: Run, *, share: float) -> Path:
    """Trains with a share of the GPU's memory that is too small for it."""
    torch.cuda.set_per_process_memory_fraction(share)
    return steps.ensure_base(run)


def train_base(run: Run, *, kill: str = "", tries: Path | None = None, deterministic: Mode = "no") -> Path:
    """Trains the base; is killed at a fault's place at the first try.

    Args:
        run: its base is trained.
        kill: such as ``base.mid_epoch:7:kill9``.
        tries: counts the tries of a training that is killed.
        deterministic: whether torch's deterministic algorithms compute: ``no``, ``warn`` where there is none,
            or ``yes``: an error then.
    """
    if deterministic != "no":
        # torchvision's deterministic RoIAlign is Python for torch.compile, which takes longer than all else.
        torch.compiler.set_stance("force_eager")
    torch.use_deterministic_algorithms(deterministic != "no", warn_only=deterministic == "warn")
    if kill and tries is not None and _count(tries) == 1:
        faults.arm(kill)
    return steps.ensure_base(run)


def _count(tries: Path) -> int:
    """How often this was tried, this time included; kept in a file because the process may not live."""
    with tries.open("ab") as file:
        file.write(b".")
    return tries.stat().st_size
