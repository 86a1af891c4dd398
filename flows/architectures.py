"""What a user may call an architecture, as a specification, and what an action makes of it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jdn_core.errors import DataError, Problem, UsageError
from jdn_core.space import actions, notation
from jdn_core.space.architecture import BackboneSpec, DetectorSpec
from jdn_core.space.families import DEPTHS, family
from jdn_core.space.teachers import SubnetSpace

if TYPE_CHECKING:
    from jdn_core.detector.build import Detector
    from jdn_core.settings import Settings

CLASSES = 80


def read(text: str, classes: int | None = None) -> DetectorSpec:
    """The detector of a family's name, a notation, a JSON file, or a detector's folder.

    Args:
        text: what the user typed.
        classes: number of classes; none takes the file's own, or 80.

    Raises:
        UsageError: it is none of them.
        DataError: the file does not hold an architecture.
    """
    file = os.path.join(text, "detector.json") if os.path.isdir(text) else text
    if os.path.isfile(file):  # a notation is too long for a path, which pathlib does not forgive
        spec = _read_file(Path(file))
    elif text in DEPTHS:
        spec = _detector(family(text))
    else:
        try:
            spec = _detector(notation.parse_backbone(text))
        except ValueError as error:
            names = ", ".join(DEPTHS)
            what = f"no family ({names}), no file, no folder with a detector.json, and no notation: {error}"
            raise UsageError(f"{text}: {what}") from None
    return spec if classes is None else replace(spec, classes=_names(classes))


def after(spec: DetectorSpec, source: str, *, text: str, seed: int) -> tuple[str, DetectorSpec]:
    """(key of the action, the architecture that it leads to).

    Pruning ranks weights: those of the folder that ``source`` names, else weights drawn from ``seed``.

    Raises:
        UsageError: the text names no action, or the action is not legal here.
    """
    try:
        action = actions.parse(text)
        if isinstance(action, actions.AddLayer | actions.Rearrange):
            return actions.key(action), replace(spec, backbone=actions.apply(spec.backbone, action))
        if reason := actions.reason_against(spec.backbone, action):
            raise ValueError(f"{actions.key(action)}: {reason}")
        from jdn_core.morphism.evolve import evolve

        return actions.key(action), evolve(_weighted(spec, Path(source), seed), action).spec
    except ValueError as error:
        raise UsageError(f"--act: {error}") from None


def pool_space(settings: Settings) -> SubnetSpace:
    """The subnets that settings describe."""
    space = settings.pool.space
    return SubnetSpace(space.depths, space.widths, width=space.width, neck=space.neck, head=space.head)


def _read_file(file: Path) -> DetectorSpec:
    try:
        data = json.loads(file.read_bytes())
        if "backbone" in data:
            return DetectorSpec.from_json(data)
        return _detector(BackboneSpec.from_json(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError.of([Problem(file.name, "", f"holds no architecture ({reason})")]) from None


def _detector(backbone: BackboneSpec) -> DetectorSpec:
    return DetectorSpec(backbone, _names(CLASSES))


def _names(classes: int) -> tuple[tuple[int, str], ...]:
    return tuple((number, f"class {number}") for number in range(1, classes + 1))


def _weighted(spec: DetectorSpec, folder: Path, seed: int) -> Detector:
    if (folder / "weights.safetensors").is_file():
        from jdn_core.detector.folder import load_detector

        return load_detector(folder)
    import torch

    from jdn_core.detector.build import build

    torch.manual_seed(seed)
    detector = build(spec)
    for module in detector.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight)
    return detector
