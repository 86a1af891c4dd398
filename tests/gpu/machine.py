"""The machine: the card, its driver, and the versions of what computes."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

from tests.gpu.findings import Findings
from tests.gpu.runner import Setting

PACKAGES = ("torch", "torchvision", "numpy", "pydantic", "pycocotools", "safetensors", "pillow", "triton")


def facts(setting: Setting, findings: Findings) -> None:
    """Notes what everything else was measured on, and checks that the device is there."""
    found = {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0))}
    found |= {name: _version(name) for name in PACKAGES}
    findings.measure("versions", **found, threads=torch.get_num_threads())
    if not setting.on_gpu:
        findings.measure("device", card="none, this is a CPU in small", processor=platform.machine())
        return
    card = torch.cuda.get_device_properties(0)
    findings.check(
        "device",
        torch.ones(2, device="cuda").sum().item() == 2,
        card=card.name,
        memory_GiB=card.total_memory / 2**30,
        capability=f"{card.major}.{card.minor}",
        driver=_driver(),
        cuda=torch.version.cuda or "",
        cudnn=torch.backends.cudnn.version() or 0,
        nccl=".".join(map(str, torch.cuda.nccl.version())),
        cudnn_tf32=str(torch.backends.cudnn.allow_tf32),
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not there"


def _driver() -> str:
    question = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(question, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown: {error}"
