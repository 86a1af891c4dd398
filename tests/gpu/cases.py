"""Detectors and pictures that both devices are given, and one training step of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from jdn_core.data.loading import Batch, pad_together
from jdn_core.detector.backbone import Block
from jdn_core.detector.build import Detector
from jdn_core.distillation.distiller import Distiller
from jdn_core.pool.calibration import reset_bn
from jdn_core.space.architecture import Resolution
from tests.gpu.samples import Samples
from tests.gpu.scale import Precision

BOXES = 6  # an image
D = TypeVar("D", bound=Detector)


def pictures(frame: Resolution, *, batch: int, classes: int, seed: int = 0) -> Batch:
    """Draws smooth noise with boxes; the last picture is a little smaller than the frame, so it is padded."""
    generator = torch.Generator().manual_seed(seed)
    images, targets = [], []
    for number in range(batch):
        height, width = frame.height - 4 * (number + 1 == batch), frame.width
        coarse = torch.rand(1, 3, height // 8 + 1, width // 8 + 1, generator=generator)
        images.append(nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0])
        corners = torch.rand(BOXES, 2, generator=generator) * 0.6
        sides = 0.1 + torch.rand(BOXES, 2, generator=generator) * 0.3
        boxes = torch.cat([corners, corners + sides], dim=1) * torch.tensor([width, height] * 2)
        labels = torch.randint(1, classes + 1, (BOXES,), generator=generator)
        targets.append({"boxes": boxes, "labels": labels})
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    return Batch(pad_together(images), sizes, targets, list(range(batch)), sizes)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one training step gave, on the CPU.

    Attributes:
        losses: scalars by name.
        gradients: of every parameter that has one, by name.
        statistics: BN's running means and variances afterwards.
    """

    losses: Mapping[str, float]
    gradients: Mapping[str, Tensor]
    statistics: Mapping[str, Tensor]


def step(
    detector: Detector,
    batch: Batch,
    samples: Samples,
    *,
    distiller: Distiller | None = None,
    precision: Precision = "float32",
) -> Outcome:
    """Returns losses and gradients of a batch under given samples, and puts the BN statistics back."""
    device = next(detector.parameters()).device
    batch, before = batch.to(device), _statistics(detector)
    modules = nn.ModuleDict({"detector": detector} | ({"distiller": distiller} if distiller else {}))
    modules.train()
    modules.zero_grad()
    torch.manual_seed(0)
    with samples.of(detector), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output = detector.training_step(batch.images, batch.sizes, batch.targets)
        losses = dict(output.losses)
        if distiller is not None:
            losses |= distiller(output, batch.images, batch.sizes)
    torch.stack(list(losses.values())).sum().backward()
    after = _statistics(detector)
    for name, buffer in detector.named_buffers():
        buffer.copy_(before.get(name, buffer))
    gradients = {
        name: parameter.grad.detach().float().cpu().clone()
        for name, parameter in modules.named_parameters()
        if parameter.grad is not None
    }
    return Outcome({name: value.item() for name, value in losses.items()}, gradients, after)


def recompute(detector: Detector, *, on: bool) -> None:
    """Sets whether blocks keep their activations."""
    for module in detector.modules():
        if isinstance(module, Block):
            module.recompute = on


@torch.no_grad()
def tamed(detector: D) -> D:
    """Weakens the last BN of every block, as training does; else depth amplifies differences of rounding."""
    for module in detector.modules():
        if isinstance(module, Block):
            module.layers()[-1][1].weight.fill_(0.25)
    return detector


@torch.no_grad()
def lively(detector: D) -> D:
    """Gives it heads whose scores and boxes differ from RoI to RoI, as those of a trained detector do."""
    nn.init.normal_(detector.rpn.head.cls_logits.weight, std=0.1)
    nn.init.normal_(detector.rpn.head.bbox_pred.weight, std=0.02)
    nn.init.normal_(detector.roi.box_predictor.cls_score.weight, std=0.22)
    nn.init.normal_(detector.roi.box_predictor.cls_score.bias, std=0.5)
    nn.init.normal_(detector.roi.box_predictor.bbox_pred.weight, std=0.05)
    return detector


def calibrated(detector: Detector, batch: Batch) -> Detector:
    """Puts a detector into eval mode, with BN statistics of the batch and lively heads."""
    reset_bn(detector, [batch])
    return lively(detector)


@torch.no_grad()
def nudge(module: nn.Module, *, roundings: int) -> None:
    """Changes every weight by up to so many roundings of float32 (a relative 2^-24 each), at random."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        share = 2 * torch.rand(parameter.shape, generator=generator) - 1
        parameter.mul_(1 + roundings * 2.0**-24 * share.to(parameter.device))


@contextmanager
def full_float32() -> Iterator[None]:
    """Multiplies float32 as float32: TF32, which cuDNN has on by default, keeps 11 bits of 24."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def loss_error(found: Outcome, wanted: Outcome) -> float:
    """Returns the largest relative difference of a loss."""
    return max(
        abs(found.losses[name] - value) / max(abs(value), 1e-6) for name, value in wanted.losses.items()
    )


def gradient_error(found: Outcome, wanted: Outcome) -> float:
    """Returns ||difference|| / ||gradient|| over all parameters together."""
    if found.gradients.keys() != wanted.gradients.keys():
        return math.inf
    gaps = (found.gradients[name] - gradient for name, gradient in wanted.gradients.items())
    return _norm(gaps) / _norm(wanted.gradients.values())


def worst_gradient(found: Outcome, wanted: Outcome) -> tuple[str, float]:
    """Returns the parameter whose gradient differs most, relative to its own norm, of those that matter.

    A gradient counts if its norm is at least a thousandth of the largest one: the others are rounding.
    """
    norms = {name: gradient.norm().item() for name, gradient in wanted.gradients.items()}
    least = 1e-3 * max(norms.values())
    errors = {
        name: (found.gradients[name] - wanted.gradients[name]).norm().item() / norm
        for name, norm in norms.items()
        if norm >= least
    }
    name = max(errors, key=errors.__getitem__)
    return name, errors[name]


def cosine(found: Outcome, wanted: Outcome) -> float:
    """Returns the cosine between two steps' whole gradients."""
    product = sum(
        (found.gradients[name].double() * gradient).sum().item()
        for name, gradient in wanted.gradients.items()
    )
    return product / (_norm(found.gradients.values()) * _norm(wanted.gradients.values()))


def statistics_error(found: Outcome, wanted: Outcome) -> float:
    """Returns the largest difference of a running mean or variance, relative to its layer's largest value."""
    return max(
        ((found.statistics[name] - value).abs().max() / value.abs().max().clamp(min=1e-6)).item()
        for name, value in wanted.statistics.items()
    )


def _statistics(detector: Detector) -> dict[str, Tensor]:
    return {
        name: buffer.detach().float().cpu().clone()
        for name, buffer in detector.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(tensor.double().pow(2).sum().item() for tensor in tensors))
