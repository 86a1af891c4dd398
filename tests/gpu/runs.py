"""Runs of the method on disk: slim ones on generated shapes, and the settings of the whole upgrade."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jdn_core.data.shapes import generate
from jdn_core.run.folder import Run
from jdn_core.settings.whole import Settings, parse
from tests.gpu.runner import Setting


def on_shapes(setting: Setting, name: str = "run", **over: Any) -> Run:
    """A run of the slim detector on shapes; ``over``, values or sections, is laid over its settings.

    All runs of a part share the photos.
    """
    settings = _settings(setting, photos(setting), setting.scale.slim, over)
    folder = setting.scratch / name
    folder.mkdir(parents=True, exist_ok=True)
    return Run(settings, folder)


def upgrade(setting: Setting) -> Run:
    """The whole upgrade, on the dataset that was named, or on shapes."""
    settings = _settings(setting, setting.data or photos(setting), setting.scale.upgrade)
    folder = setting.scratch / "upgrade"
    folder.mkdir(parents=True, exist_ok=True)
    return Run(settings, folder)


def photos(setting: Setting) -> Path:
    """A folder of generated photos, made once a part."""
    folder = setting.scratch / "shapes"
    if not folder.is_dir():
        images, side = setting.scale.shapes
        generate(folder, images=images, size=side, seed=0)
    return folder


def _settings(setting: Setting, root: Path, *layers: Mapping[str, Any]) -> Settings:
    """Each layer over the one before it, section by section."""
    data: dict[str, Any] = {"name": "check", "device": setting.device, "tracking": {"preview_images": 0}}
    for name, value in (entry for layer in layers for entry in layer.items()):
        data[name] = {**data.get(name, {}), **value} if isinstance(value, Mapping) else value
    data["data"]["root"] = str(root)
    return parse(data)
