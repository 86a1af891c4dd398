"""A specification becomes a Faster R-CNN with FPN that can be trained, asked as a teacher, and used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.detection.image_list import ImageList

from jdn_core.detector.backbone import Backbone
from jdn_core.detector.heads import box_losses, build_roi_heads, build_rpn
from jdn_core.detector.neck import build_neck
from jdn_core.space.architecture import DetectorSpec

Size = tuple[int, int]
_DRAWS = frozenset(
    {
        nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_,
        nn.init.constant_, Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_,
    }
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TrainingOutput:
    """What one training step computed, kept so that distillation need not compute it again.

    Attributes:
        losses: scalars ``loss_objectness``, ``loss_rpn_box_reg``, ``loss_classifier``, ``loss_box_reg``.
        features: pyramid levels "0".."3" and "pool", [B, neck, H_l, W_l].
        proposals: per image [P_i, 4], xyxy in input pixels, as sampled for the box head's loss (no gradient).
        pooled: RoI-aligned features [sum P_i, neck, 7, 7].
        logits: [sum P_i, K + 1].
        deltas: [sum P_i, 4 (K + 1)], in units of the box coder.
    """

    losses: dict[str, Tensor]
    features: OrderedDict[str, Tensor]
    proposals: list[Tensor]
    pooled: Tensor
    logits: Tensor
    deltas: Tensor


class Detector(nn.Module):
    """Faster R-CNN with FPN.

    Images are [B, 3, H, W] in 0..1, zero padded to the right and bottom; ``sizes`` are the real (height,
    width) of each. Weights and activations are channels-last: on CPUs convolutions are about twice as fast
    so.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(spec.backbone)
        self.neck = build_neck(spec)
        self.rpn = build_rpn(spec)
        self.roi = build_roi_heads(spec)
        _to_channels_last(self)

    def features(self, images: Tensor, sizes: Sequence[Size] | None = None) -> OrderedDict[str, Tensor]:
        """Maps images [B, 3, H, W] in 0..1 to pyramid levels "0".."3" and "pool", each [B, neck, H_l, W_l].

        With ``sizes`` the padding is zero after normalisation, as in torchvision; without, all pixels count
        as content. They are float32 under autocast too: anchors take their dtype from them, and bfloat16
        knows no pixel above 256 from its neighbour.
        """
        levels = self.neck(self.backbone(self.normalise(images, sizes)))
        return OrderedDict((name, level.float()) for name, level in levels.items())

    def normalise(self, images: Tensor, sizes: Sequence[Size] | None = None) -> Tensor:
        """Returns (images - mean) / std with zeros outside ``sizes``, channels-last, [B, 3, H, W]."""
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (self.spec.mean, self.spec.std))
        normal = (images.contiguous(memory_format=torch.channels_last) - mean) / std
        for image, (height, width) in zip(normal, sizes or (), strict=sizes is not None):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return normal

    def training_step(
        self, images: Tensor, sizes: Sequence[Size], targets: list[dict[str, Tensor]]
    ) -> TrainingOutput:
        """Computes the losses of a batch and everything that distillation shares.

        The only randomness is torch's ``randperm`` in the samplers of anchors and RoIs.

        Args:
            images: [B, 3, H, W] in 0..1.
            sizes: real (height, width) of each.
            targets: per image ``boxes`` [N, 4] xyxy in input pixels and ``labels`` [N] in 1..K; N may be 0.
        """
        features = self.features(images, sizes)
        proposals, losses = self.rpn(_image_list(images, sizes), features, targets)
        # Proposals are constants to the box head (Faster R-CNN, section 3.2, approximate joint training).
        with torch.no_grad():
            proposals, _, labels, regression_targets = self.roi.select_training_samples(proposals, targets)
        pooled, logits, deltas = self.roi_outputs(features, proposals, sizes)
        classifier, box_reg = box_losses(logits, deltas, labels, regression_targets)
        losses = {**losses, "loss_classifier": classifier, "loss_box_reg": box_reg}
        return TrainingOutput(losses, features, proposals, pooled, logits, deltas)

    def roi_outputs(
        self, features: OrderedDict[str, Tensor], proposals: list[Tensor], sizes: Sequence[Size]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pools given RoIs: [sum P_i, neck, 7, 7], with logits [sum P_i, K + 1], deltas [sum P_i, 4 (K + 1)].

        This is what a teacher is asked on its student's proposals; sum P_i may be 0.
        """
        pooled: Tensor = self.roi.box_roi_pool(features, proposals, list(sizes))
        logits, deltas = self.roi.box_predictor(self.roi.box_head(pooled))
        return pooled, logits.float(), deltas.float()

    @torch.no_grad()
    def detect(self, images: Tensor, sizes: Sequence[Size]) -> list[dict[str, Tensor]]:
        """Returns per image ``boxes`` [D, 4] xyxy in input pixels, ``scores`` [D], ``labels`` [D] in 1..K."""
        if self.training:
            raise RuntimeError("detect() needs a detector in eval mode")
        features = self.features(images, sizes)
        proposals, _ = self.rpn(_image_list(images, sizes), features)
        _, logits, deltas = self.roi_outputs(features, proposals, sizes)
        boxes, scores, labels = self.roi.postprocess_detections(logits, deltas, proposals, list(sizes))
        return [
            {"boxes": b, "scores": s, "labels": label}
            for b, s, label in zip(boxes, scores, labels, strict=True)
        ]


def build(spec: DetectorSpec) -> Detector:
    """Builds a detector with fresh weights, drawn from torch's global generator."""
    return Detector(spec)


def blank(spec: DetectorSpec, device: str | torch.device = "cpu") -> Detector:
    """Builds a detector whose weights are still to be filled in; no random generator is advanced."""
    with weightless():
        detector = Detector(spec)
    return detector.to_empty(device=device)


@contextmanager
def weightless() -> Iterator[None]:
    """Makes modules built inside have shapes but no memory; their weights are not drawn."""
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Skips what gives a fresh module its numbers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _to_channels_last(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _image_list(images: Tensor, sizes: Sequence[Size]) -> ImageList:
    return ImageList(images, [(int(height), int(width)) for height, width in sizes])
