"""Runs of the method on disk, slim ones on generated shapes and the whole upgrade, and their workers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from jdn_core.data.shapes import generate
from jdn_core.processes.devices import DeviceShare, shares
from jdn_core.processes.fork_server import prepare
from jdn_core.processes.workers import Workers
from jdn_core.run.folder import Run
from jdn_core.settings.training import TrainingSettings
from jdn_core.settings.whole import Settings, parse
from tests.gpu.runner import Setting

T = TypeVar("T", bound=TrainingSettings)


def on_shapes(setting: Setting, name: str = "run", **over: Any) -> Run:
    """Makes a run of the slim detector on shapes; ``over``, values or sections, is laid over its settings.

    All runs of a part share the photos.
    """
    settings = _settings(setting, photos(setting), setting.scale.slim, over)
    folder = setting.scratch / name
    folder.mkdir(parents=True, exist_ok=True)
    return Run(settings, folder)


def upgrade(setting: Setting, *, share: float) -> Run:
    """Makes the run of the whole upgrade, whose trainings take a share of their epochs."""
    whole = _settings(setting, setting.data or photos(setting), setting.scale.upgrade)
    phases = tuple(_shorter(phase, share) for phase in whole.pool.phases)
    pool = whole.pool.model_copy(update={"phases": phases})
    settings = whole.model_copy(update={"base": _shorter(whole.base, share), "pool": pool})
    folder = setting.scratch / "upgrade"
    folder.mkdir(parents=True, exist_ok=True)
    return Run(settings, folder)


def photos(setting: Setting) -> Path:
    """Returns a folder of generated photos, made once a part."""
    folder = setting.scratch / "shapes"
    if not folder.is_dir():
        images, side = setting.scale.shapes
        generate(folder, images=images, size=side, seed=0)
    return folder


def hired(setting: Setting, count: int, **environment: str) -> Workers:
    """Makes workers as a search has them, with variables of their own."""
    logging.basicConfig(level=logging.WARNING)
    prepare("jdn_core.run.steps", "tests.gpu.deeds")
    each = shares(count, device=setting.device, threads=None if setting.on_gpu else 1)
    return Workers([DeviceShare(s.device, s.threads, {**s.environment, **environment}) for s in each])


def _shorter(training: T, share: float) -> T:
    return training.model_copy(update={"epochs": max(1, round(training.epochs * min(1.0, share)))})


def _settings(setting: Setting, root: Path, *layers: Mapping[str, Any]) -> Settings:
    """Lays each layer over the one before it, section by section."""
    data: dict[str, Any] = {"name": "check", "device": setting.device, "tracking": {"preview_images": 0}}
    for name, value in (entry for layer in layers for entry in layer.items()):
        data[name] = {**data.get(name, {}), **value} if isinstance(value, Mapping) else value
    data["data"]["root"] = str(root)
    return parse(data)
