"""A checkpoint of another library becomes one of our detectors that computes the same function.

What a specification can say (normalisation, stride, anchors, RoIAlign) goes into it with ``adapt``; the rest
(order of channels and classes, epsilon of BN, scale of deltas) is folded into the weights by
``load_weights``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from jdn_core.detector.build import Detector
from jdn_core.detector.checkpoint_file import Checkpoint
from jdn_core.detector.class_head import choose_rows, labels, shapes
from jdn_core.detector.folder import state_problems
from jdn_core.detector.naming import DELTAS, LOGITS, Conventions
from jdn_core.errors import CheckpointError, Problem
from jdn_core.settings.detector import CheckpointSettings
from jdn_core.space.architecture import BackboneSpec, BlockSpec, DetectorSpec
from jdn_core.space.families import DEPTHS

BN_EPS = 1e-5  # torch's default, which every BN of ours has
_COUNTER = "num_batches_tracked"  # frozen BN has none


def adapt(spec: DetectorSpec, conventions: Conventions) -> DetectorSpec:
    """Returns the detector under a checkpoint's conventions; mean and std become those of RGB in 0..1."""
    stages = tuple(tuple(_strided(block, conventions) for block in blocks) for blocks in spec.backbone.stages)
    region = replace(spec.region, rounded_anchors=conventions.rounded_anchors, aligned=conventions.aligned)
    spec = replace(spec, backbone=BackboneSpec(spec.backbone.stem, stages), region=region)
    if conventions.mean and conventions.std:
        mean, std = (_rgb(values, conventions) for values in (conventions.mean, conventions.std))
        spec = replace(spec, mean=mean, std=std)
    return spec


def has_heads(checkpoint: Checkpoint) -> bool:
    """Returns whether there is more in it than a backbone."""
    beginnings = tuple(name.partition("{")[0] for name in checkpoint.naming.around.values())
    return any(name.startswith(beginnings) for name in checkpoint.tensors)


@torch.no_grad()
def load_weights(
    detector: Detector, checkpoint: Checkpoint, conventions: Conventions, settings: CheckpointSettings
) -> None:
    """Fills a detector whose specification went through ``adapt``; what the file lacks stays as it is.

    That is FPN, RPN and box head where the file is a backbone alone, and the class head where it is to be
    new. Frozen BN becomes BN that can be trained.

    Raises:
        CheckpointError: the file is of another architecture, or broken; all that is wrong is named.
    """
    names = _names(detector, checkpoint, settings)
    problems = _other_depths(detector.spec, checkpoint)
    problems += _unfit(detector, checkpoint, names, conventions)
    if problems:
        raise CheckpointError.of(problems)
    state = {ours: checkpoint.tensors[theirs] for ours, theirs in names.items()}
    if conventions.bn_eps != BN_EPS:
        _change_epsilon(state, conventions.bn_eps, names, checkpoint.file)
    if conventions.channels == "bgr":
        state["backbone.stem.conv.weight"] = state["backbone.stem.conv.weight"].flip(1)
    if f"{LOGITS}.weight" in state:
        classes = [name for _, name in detector.spec.classes]
        found = len(state[f"{LOGITS}.weight"]) - 1
        choose_rows(state, labels(classes, checkpoint, found=found, settings=settings), conventions)
    detector.load_state_dict({**detector.state_dict(), **state})


def _strided(block: BlockSpec, conventions: Conventions) -> BlockSpec:
    return replace(block, stride_in=conventions.stride_in) if block.kind == "bottleneck" else block


def _rgb(values: Sequence[float], conventions: Conventions) -> tuple[float, float, float]:
    red, green, blue = values if conventions.channels == "rgb" else reversed(values)
    return red / 255, green / 255, blue / 255


def _names(detector: Detector, checkpoint: Checkpoint, settings: CheckpointSettings) -> dict[str, str]:
    """Maps our name of every tensor that is wanted from the file to its name there."""
    modules = checkpoint.naming.modules(detector.spec)
    parts = ("backbone.", "neck.", "rpn.", "roi.") if has_heads(checkpoint) else ("backbone.",)
    fresh = (LOGITS, DELTAS) if settings.head == "new" else ()
    names = {}
    for name in detector.state_dict():
        module, _, leaf = name.rpartition(".")
        if name.startswith(parts) and module not in fresh:
            theirs = f"{modules[module]}.{leaf}"
            if leaf != _COUNTER or theirs in checkpoint.tensors:
                names[name] = theirs
    return names


def _unfit(
    detector: Detector, checkpoint: Checkpoint, names: Mapping[str, str], conventions: Conventions
) -> list[Problem]:
    own, tensors = detector.state_dict(), checkpoint.tensors
    modules = checkpoint.naming.modules(detector.spec)
    expected = {theirs: own[ours] for ours, theirs in names.items()}
    if f"{LOGITS}.weight" in names:
        rows = shapes(tensors, modules, background_first=conventions.background_first)
        expected |= {name: expected[name].new_empty(n, *expected[name].shape[1:]) for name, n in rows.items()}
    replaced = tuple(f"{modules[part]}." for part in (LOGITS, DELTAS) if part in modules)
    got = {name: t for name, t in tensors.items() if name in expected or not name.startswith(replaced)}
    return state_problems(expected, got, file=checkpoint.file)


def _other_depths(spec: DetectorSpec, checkpoint: Checkpoint) -> list[Problem]:
    """Reports another number of blocks per stage, with the families that have it."""
    wanted, found = list(spec.backbone.depths), checkpoint.naming.depths(checkpoint.tensors)
    if found == wanted:
        return []
    families = " or ".join(name for name, depths in DEPTHS.items() if list(depths) == found)
    remedy = f"set detector.family: {families}" if families else ""
    return [Problem(checkpoint.file, "backbone", f"blocks per stage must be {wanted}", str(found), remedy)]


def _change_epsilon(state: dict[str, Tensor], eps: float, names: Mapping[str, str], file: str) -> None:
    """Rescales what BN reads, so that with our epsilon it gives what it gave with ``eps``.

    Its weights, which rank channels for pruning, stay as they are, and so do its variances. Where those are
    tiny (dead channels) any other way would make weights or activations of astronomic size.
    """
    variances = {name: tensor for name, tensor in state.items() if name.endswith(".running_var")}
    if dead := [names[name] for name, variance in variances.items() if bool((variance + eps <= 0).any())]:
        what = f"variances must be > 0 where detector.checkpoint.bn_eps is {eps:g}"
        raise CheckpointError.of([Problem(file, name, what) for name in dead])
    for name, variance in variances.items():
        bn = name.removesuffix(".running_var")
        before, _, after = bn.rpartition("bn")
        factor = ((variance + BN_EPS) / (variance + eps)).sqrt()
        conv, mean = f"{before}conv{after}.weight", f"{bn}.running_mean"
        state[conv] = state[conv] * factor.view(-1, 1, 1, 1)
        state[mean] = state[mean] * factor
