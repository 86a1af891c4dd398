"""Which device a run computes on, and each process's share of it: GPUs in turn, or the CPU's threads.

torch is imported late here, because the command line asks before it imports torch for anything else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jdn_core.errors import Problem, SettingsError

if TYPE_CHECKING:
    import torch

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ALL = "JDN_GPUS"  # all GPUs of the run, where this process sees its own alone


@dataclass(frozen=True)
class DeviceShare:
    """What a process computes with.

    Attributes:
        device: name of what it shares with others, such as ``cpu`` or ``cuda:1``.
        threads: CPU threads of its tensor operations; none: as many as torch takes.
        environment: variables that it sets before torch looks for devices.
    """

    device: str = "cpu"
    threads: int | None = None
    environment: dict[str, str] = field(default_factory=dict)


def choose(name: str) -> torch.device:
    """Returns the device of a run; ``auto`` takes a GPU if there is one.

    Raises:
        SettingsError: the device is not on this machine.
    """
    import torch

    if found := problem(name, source="settings"):
        raise SettingsError.of([found])
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def problem(name: str, *, source: str) -> Problem | None:
    """Says why a device of the settings cannot be had here; none where it can.

    Args:
        name: ``auto``, ``cpu`` or ``cuda``.
        source: of the settings, for the message.
    """
    if name not in ("auto", "cpu", "cuda"):
        return Problem(source, "device", "must be auto, cpu or cuda", repr(name))
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            remedy = "take cpu or auto; `jdn doctor` says what torch sees"
            return Problem(source, "device", "torch sees no GPU here", "'cuda'", remedy)
    return None


def gpus() -> list[str]:
    """Returns the names of the GPUs that the run may use, by which CUDA_VISIBLE_DEVICES knows them."""
    if (named := os.environ.get(_ALL, os.environ.get(_VISIBLE))) is not None:
        return named.split(",") if named else []
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def cores() -> int:
    """Returns how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(count: int, *, device: str, threads: int | None) -> tuple[DeviceShare, ...]:
    """Returns what each of ``count`` processes gets: GPUs in turn, and an even share of the CPU's threads.

    Args:
        count: processes, one at least.
        device: ``cpu`` or ``cuda``.
        threads: of each process, as the settings ask; none: what there is, shared out evenly.
    """
    threads = threads or (None if count == 1 else max(1, cores() // count))
    if device != "cuda":
        return (DeviceShare("cpu", threads),) * count
    there = gpus()
    return tuple(
        DeviceShare(f"cuda:{gpu}", threads, {_VISIBLE: gpu, _ALL: ",".join(there)})
        for gpu in (there[index % len(there)] for index in range(count))
    )
