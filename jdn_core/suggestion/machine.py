"""What a machine has that settings depend on: a GPU and its memory, cores, memory."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from jdn_core.processes import devices

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """What there is to train on.

    Attributes:
        cores: that this process may use.
        memory: of the machine, in bytes.
        gpu: name of the first GPU; empty on a CPU.
        gpu_memory: in bytes; 0 on a CPU.
    """

    cores: int
    memory: int
    gpu: str = ""
    gpu_memory: int = 0

    def __str__(self) -> str:
        processor = f"{self.cores} CPU cores, {self.memory / GIB:.0f} GiB of memory"
        return f"{self.gpu}, {self.gpu_memory / GIB:.0f} GiB; {processor}" if self.gpu else processor


def look(device: str = "auto") -> Machine:
    """Returns this machine as ``device`` (auto, cpu or cuda) lets a run use it.

    Raises:
        SettingsError: the device is not on this machine.
    """
    there = devices.cores(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if devices.choose(device).type != "cuda":
        return Machine(*there)
    found = torch.cuda.get_device_properties(0)
    return Machine(*there, found.name, found.total_memory)
