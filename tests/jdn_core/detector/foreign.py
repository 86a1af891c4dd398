"""Checkpoints as other libraries write them, made of our own detectors by going the way back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from jdn_core.detector.build import Detector
from jdn_core.detector.naming import DELTAS, LOGITS, Naming
from jdn_core.detector.pretrained import adapt
from jdn_core.space.architecture import DetectorSpec
from jdn_core.space.families import Family
from tests.jdn_core.tiny import grown, tiny_spec


def spec_of(naming: Naming, name: Family = "r50") -> DetectorSpec:
    """A tiny detector under a library's default conventions, whose detections are not cut off by a score."""
    spec = adapt(tiny_spec(name, depth=2), naming.conventions)
    return replace(spec, region=replace(spec.region, score_threshold=0.0))


def trained(spec: DetectorSpec) -> Detector:
    """In eval mode, with class scores that differ."""
    detector = grown(spec)
    with torch.no_grad():
        nn.init.normal_(detector.roi.box_predictor.cls_score.weight, std=0.5)
        nn.init.normal_(detector.roi.box_predictor.cls_score.bias, std=0.5)
    return detector


def state_of(detector: Detector, naming: Naming) -> dict[str, Tensor]:
    """Its weights under a library's names and conventions."""
    state = {name: value.clone() for name, value in detector.state_dict().items()}
    if naming.conventions.channels == "bgr":
        state["backbone.stem.conv.weight"] = state["backbone.stem.conv.weight"].flip(1)
    if not naming.conventions.background_first:
        for leaf in ("weight", "bias"):
            state[f"{LOGITS}.{leaf}"] = state[f"{LOGITS}.{leaf}"].roll(-1, 0)
            state[f"{DELTAS}.{leaf}"] = state[f"{DELTAS}.{leaf}"][4:]
    modules = naming.modules(detector.spec)
    named = ((name.rpartition("."), value) for name, value in state.items())
    return {f"{modules[module]}.{leaf}": value.contiguous() for (module, _, leaf), value in named}


def save(state: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path
