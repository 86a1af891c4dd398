"""Narrowing behind the backbone: the least important channels of neck, RPN and box head go (ours)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from jdn_core.detector.build import Detector, blank
from jdn_core.morphism.inheritance import copy, laterals
from jdn_core.space.actions import NarrowHeads
from jdn_core.space.architecture import DetectorSpec

# The widths that shrink: of the pyramid before and after its 3x3 convolutions, which all levels share, of the
# RPN's convolution, and of the box head's two layers.
Width = Literal["laterals", "levels", "rpn", "fc6", "fc7"]
Kept = Mapping[Width, Tensor]  # int64, indices of the channels that stay, rising


class _Layer(NamedTuple):
    """A layer between two widths; none where its channels are the backbone's, anchors or classes.

    Attributes:
        module: reads ``inputs``, writes ``outputs``.
        cells: weights of one output on each input channel: those of a kernel, or of a flattened RoI.
    """

    module: nn.Conv2d | nn.Linear
    inputs: Width | None
    outputs: Width | None
    cells: int = 1

    @property
    def weight(self) -> Tensor:
        """Returns the weights as [outputs, inputs, cells]."""
        return self.module.weight.view(len(self.module.weight), -1, self.cells)


def choose_heads(detector: Detector, action: NarrowHeads) -> Kept:
    """Chooses the channels that stay, for each width those through which most passes.

    A channel's importance is mean |weight| of what writes it times mean |weight| of what reads it, each
    summed over the layers that do. Equal scores stay in the order of the data.
    """
    scores = _importance(detector)
    return {
        width: score.argsort(descending=True, stable=True)[: action.left_of(len(score))].sort().values
        for width, score in scores.items()
    }


def cut_heads(detector: Detector, *, spec: DetectorSpec, kept: Kept) -> Detector:
    """Returns a detector of architecture ``spec`` with the kept channels' weights behind its backbone."""
    child = blank(spec, next(detector.parameters()).device)
    copy(child.backbone, detector.backbone)
    for target, source in zip(_layers(child), _layers(detector), strict=True):
        _cut(target.module, source, kept)
    return child.train(detector.training)


def _layers(detector: Detector) -> Iterator[_Layer]:
    rpn, box_head, predictor = detector.rpn.head, detector.roi.box_head, detector.roi.box_predictor
    for conv in laterals(detector):
        yield _Layer(conv, None, "laterals")
    for conv in _convolutions(detector.neck.layer_blocks):
        yield _Layer(conv, "laterals", "levels", cells=9)
    for conv in _convolutions(rpn.conv):
        yield _Layer(conv, "levels", "rpn", cells=9)
    yield _Layer(rpn.cls_logits, "rpn", None)
    yield _Layer(rpn.bbox_pred, "rpn", None)
    yield _Layer(box_head.fc6, "levels", "fc6", cells=detector.spec.region.pooled**2)
    yield _Layer(box_head.fc7, "fc6", "fc7")
    yield _Layer(predictor.cls_score, "fc7", None)
    yield _Layer(predictor.bbox_pred, "fc7", None)


def _convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    return (conv for conv in module.modules() if isinstance(conv, nn.Conv2d))


@torch.no_grad()
def _importance(detector: Detector) -> dict[Width, Tensor]:
    """Returns the score of every channel of every width, [channels]."""
    written: dict[Width, Tensor] = {}
    read: dict[Width, Tensor] = {}
    for layer in _layers(detector):
        weight = layer.weight.abs()
        if layer.outputs is not None:
            written[layer.outputs] = weight.mean(dim=(1, 2)) + written.get(layer.outputs, 0.0)
        if layer.inputs is not None:
            read[layer.inputs] = weight.mean(dim=(0, 2)) + read.get(layer.inputs, 0.0)
    return {width: score * read[width] for width, score in written.items()}


@torch.no_grad()
def _cut(target: nn.Conv2d | nn.Linear, source: _Layer, kept: Kept) -> None:
    weight, bias = source.weight, source.module.bias
    assert bias is not None  # every layer behind the backbone has one
    if source.inputs is not None:
        weight = weight[:, kept[source.inputs]]
    if source.outputs is not None:
        weight, bias = weight[kept[source.outputs]], bias[kept[source.outputs]]
    target.load_state_dict({"weight": weight.reshape(target.weight.shape), "bias": bias})
