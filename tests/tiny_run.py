"""A whole run that takes seconds: drawn shapes of 64 px, detectors of a few channels, one epoch a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jdn_core.data.shapes import generate
from jdn_core.run import steps
from jdn_core.run.folder import Run
from jdn_core.settings.whole import Settings, parse

_TRAINING = {"epochs": 1, "batch": 4, "lr": 0.02, "schedule": "cosine"}
_SPACE = {
    "depths": [[1, 2], [1, 2], [1, 2], [1, 2]],
    "widths": [1.0, 1.5],
    "width": 0.125,
    "neck": 16,
    "head": 16,
}


def shapes(folder: Path) -> Path:
    """Sixteen drawn photos for training and four for validation."""
    generate(folder, images=20, size=64, seed=0)
    return folder


def tiny_settings(root: Path, *, iterations: int = 5, seed: int = 3, **sections: dict[str, Any]) -> Settings:
    """A run over a dataset; ``sections`` are laid over its own."""
    data: dict[str, Any] = {
        "name": "tiny",
        "seed": seed,
        "threads": 1,
        "data": {"root": str(root), "resolutions": ["48x48", "64x64"]},
        "detector": {
            "family": "r18",
            "width": 0.125,
            "neck": 16,
            "head": 16,
            "anchor_sizes": [8, 16, 32, 48, 64],
            "train_proposals": [60, 30],
            "proposals": [40, 20],
            "anchors_per_image": 32,
            "rois_per_image": 16,
        },
        "base": _TRAINING,
        "pool": {
            "space": _SPACE,
            "calibration_images": 8,
            "phases": [
                {"name": "supernet", **_TRAINING},
                {"name": "shrink-1", **_TRAINING, "depths": _SPACE["depths"], "widths": _SPACE["widths"]},
            ],
        },
        "search": {
            "iterations": iterations,
            "top_k": 3,
            "frozen_student_iterations": 1,
            "prune_shares": [0.2],
        },
        "evaluation": {**_TRAINING, "latency_warmup": 1, "latency_repeats": 2},
        "tracking": {"preview_images": 1},
    }
    for name, values in sections.items():
        data[name] = {**data.get(name, {}), **values}
    return parse(data)


def trained_run(settings: Settings, folder: Path) -> Run:
    """A run whose base, pool and pair 0 are there."""
    run = Run(settings, folder)
    run.folder.mkdir()
    steps.ensure_base(run)
    for index in range(len(settings.pool.phases)):
        steps.ensure_phase(run, index)
    steps.ensure_base_record(run)
    return run
