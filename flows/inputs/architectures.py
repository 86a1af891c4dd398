"""What a user may call an architecture, as a specification, and what an action makes of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jdn_core.errors import DataError, Problem, StorageError, UsageError
from jdn_core.space import actions, notation
from jdn_core.space.architecture import BackboneSpec, DetectorSpec
from jdn_core.space.families import DEPTHS, family
from jdn_core.space.reading import BROKEN, read_backbone, read_detector, reason
from jdn_core.storage import durable

if TYPE_CHECKING:
    from jdn_core.detector.build import Detector

CLASSES = 80


def read(text: str, classes: int | None = None) -> DetectorSpec:
    """Reads the detector of a family's name, a notation, a JSON file, or a detector's folder.

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


@dataclass(frozen=True)
class Outcome:
    """What an action makes of an architecture.

    Attributes:
        action: its key.
        spec: the detector that it leads to.
        removed: what pruning takes away, and whose weights said so; empty for the other actions.
    """

    action: str
    spec: DetectorSpec
    removed: dict[str, Any]


def after(spec: DetectorSpec, source: str, *, text: str, seed: int) -> Outcome:
    """Applies the action named ``text``.

    Pruning ranks weights: those of the folder that ``source`` names, else weights drawn from ``seed``.

    Raises:
        UsageError: the text names no action, or the action is not legal here.
    """
    try:
        action = actions.parse(text)
        if reason := actions.reason_against(spec, action):
            raise ValueError(f"{actions.key(action)}: {reason}")
    except ValueError as error:
        raise UsageError(f"--act: {error}") from None
    if isinstance(action, actions.AddLayer | actions.Rearrange | actions.NarrowHeads):
        return Outcome(actions.key(action), actions.apply(spec, action), {})
    backbone, removed = _pruned(spec, Path(source), action, seed)
    return Outcome(actions.key(action), replace(spec, backbone=backbone), removed)


def _pruned(
    spec: DetectorSpec, folder: Path, action: actions.PruneChannels | actions.PruneLayer, seed: int
) -> tuple[BackboneSpec, dict[str, Any]]:
    from jdn_core.morphism.pruning import choose_block, choose_channels, cut_spec, without_block

    if (folder / "weights.safetensors").is_file():
        from jdn_core.detector.folder import load_detector

        detector, weights = load_detector(folder), str(folder)
    else:
        detector, weights = _drawn(spec, seed), f"drawn from seed {seed}"
    if isinstance(action, actions.PruneLayer):
        stage, block = choose_block(detector)
        removed: dict[str, Any] = {"stage": stage + 1, "block": block + 1}
        backbone = without_block(spec.backbone, (stage, block))
    else:
        cut = choose_channels(detector, action.share)
        removed = {"channels": cut.removed, "prunable": cut.prunable, "share": cut.share}
        backbone = cut_spec(spec.backbone, cut)
    return backbone, {**removed, "weights": weights}


def _read_file(file: Path) -> DetectorSpec:
    try:
        data = durable.read_json(file)
        return read_detector(data) if "backbone" in data else _detector(read_backbone(data))
    except StorageError as error:
        raise DataError(str(error)) from None
    except BROKEN as error:
        raise DataError.of([Problem(file.name, "", f"holds no architecture: {reason(error)}")]) from None


def _detector(backbone: BackboneSpec) -> DetectorSpec:
    return DetectorSpec(backbone, _names(CLASSES))


def _names(classes: int) -> tuple[tuple[int, str], ...]:
    return tuple((number, f"class {number}") for number in range(1, classes + 1))


def _drawn(spec: DetectorSpec, seed: int) -> Detector:
    """Builds a detector whose BN weights all differ, for architectures without weights."""
    import torch

    from jdn_core.detector.build import build

    torch.manual_seed(seed)
    detector = build(spec)
    for module in detector.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight)
    return detector
