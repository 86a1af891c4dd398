"""The class head of another library's checkpoint: which classes it has, and ours among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from jdn_core.detector.checkpoint_file import Checkpoint
from jdn_core.detector.naming import BOX_WEIGHTS, DELTAS, LOGITS, Conventions
from jdn_core.errors import CheckpointError, Problem
from jdn_core.settings.detector import CheckpointSettings

_GAP = "N/A"  # in COCO's 90 labels
_FRESH = "detector.checkpoint.head: new begins with a fresh class head"


def labels(
    classes: Sequence[str], checkpoint: Checkpoint, *, found: int, settings: CheckpointSettings
) -> list[int]:
    """Returns the label in the checkpoint, 1..found, of each of our classes.

    Raises:
        CheckpointError: it lacks one of our classes, or the names of its classes are not known.
    """
    if settings.head == "keep":
        if found != len(classes):
            what = f"must have the dataset's {len(classes)} classes where its class head is kept, got {found}"
            raise CheckpointError(f"{checkpoint.file}: {what}; {_FRESH}")
        return list(range(1, found + 1))
    names = known_classes(checkpoint, found=found, settings=settings)
    if names is None or len(names) != found:
        what = f"has {found} classes" + (f", {len(names)} names are known" if names else " without names")
        remedy = "name them in detector.checkpoint.classes, or keep them with detector.checkpoint.head: keep"
        raise CheckpointError(f"{checkpoint.file}: {what}; {remedy}; {_FRESH}")
    known = {name.casefold(): label for label, name in enumerate(names, start=1) if name != _GAP}
    problems = [
        Problem(checkpoint.file, "classes", "must name each class of the dataset", repr(name), _FRESH)
        for name in classes
        if name.casefold() not in known
    ]
    if problems:
        raise CheckpointError.of(problems)
    return [known[name.casefold()] for name in classes]


def known_classes(
    checkpoint: Checkpoint, *, found: int, settings: CheckpointSettings
) -> tuple[str, ...] | None:
    """Returns names of a checkpoint's classes: the settings', its own, or COCO's where there are as many."""
    return settings.classes or checkpoint.classes or _coco_names(found)


def shapes(
    tensors: Mapping[str, Tensor], modules: Mapping[str, str], *, background_first: bool
) -> dict[str, int]:
    """Returns how many rows the head's tensors must have, by name there: K + 1 logits, 4 deltas a class.

    The background has deltas where it is the first class. Deltas that all classes share have 4 rows.
    """
    logits, deltas = modules[LOGITS], modules[DELTAS]
    rows = _rows(tensors, f"{logits}.weight")
    shared = _rows(tensors, f"{deltas}.weight") == 4
    boxes = 4 if shared else 4 * (rows if background_first else rows - 1)
    leaves = ("weight", "bias")
    return {f"{logits}.{leaf}": rows for leaf in leaves} | {f"{deltas}.{leaf}": boxes for leaf in leaves}


def choose_rows(state: dict[str, Tensor], chosen: Sequence[int], conventions: Conventions) -> None:
    """Makes the head ours in place: background first, deltas for every class, scaled by our box coder.

    Args:
        state: under our names; logits [K' + 1, ...], deltas [4, ...], [4 K', ...] or [4 (K' + 1), ...].
        chosen: label 1..K' there of each of our K classes.
        conventions: where the background is, and what deltas are divided by.
    """
    scale = torch.tensor(BOX_WEIGHTS) / torch.tensor(conventions.box_weights)
    for leaf in ("weight", "bias"):
        logits, deltas = state[f"{LOGITS}.{leaf}"], state[f"{DELTAS}.{leaf}"]
        classes = len(logits)
        if not conventions.background_first:
            logits = logits.roll(1, 0)
        boxes = deltas.reshape(-1, 4, *deltas.shape[1:])
        if len(boxes) == 1:
            boxes = boxes.expand(classes, *boxes.shape[1:])
        elif len(boxes) < classes:
            boxes = torch.cat([torch.zeros_like(boxes[:1]), boxes])
        rows = [0, *chosen]
        state[f"{LOGITS}.{leaf}"] = logits[rows]
        scaled = boxes[rows] * scale.view(1, 4, *[1] * (boxes.ndim - 2))
        state[f"{DELTAS}.{leaf}"] = scaled.flatten(0, 1)


def _rows(tensors: Mapping[str, Tensor], name: str) -> int:
    tensor = tensors.get(name)
    return len(tensor) if tensor is not None and tensor.ndim else 0


def _coco_names(count: int) -> tuple[str, ...] | None:
    """Returns COCO's 80 classes, or torchvision's 90 labels, which leave gaps; None for another count."""
    every = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]
    for names in (every, [name for name in every if name != _GAP]):
        if len(names) == count:
            return tuple(names)
    return None
