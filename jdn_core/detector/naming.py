"""What other libraries call the parts of a Faster R-CNN with FPN, and what they do with them.

Names were read off the libraries' sources; conventions are those of their default configurations. Known
differences that no convention covers: MMDetection and Detectron2 take as many RoIAlign samples a bin as it
has cells, we take two along a side; MMDetection also bounds how much a delta may shrink a box; boxes of
MMDetection 1 and of maskrcnn-benchmark are one pixel wider than they say, and those are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jdn_core.settings.detector import Channels
from jdn_core.space.architecture import DetectorSpec, StridedKernel

Triple = tuple[float, float, float]
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
CAFFE_MEAN, CAFFE_STD = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Conventions:
    """How a checkpoint means its numbers, as far as the tensors do not tell.

    Attributes:
        channels: order of the image's channels that the stem reads.
        mean, std: of pixels in 0..255, in that order; none keeps the specification's.
        stride_in: which convolution of a bottleneck carries the stride.
        bn_eps: what its BN adds to the variance.
        box_weights: divisors of the box head's deltas dx, dy, dw, dh (the inverse of ``target_stds``).
        background_first: whether the background is the first class or the last.
        aligned, rounded_anchors: as in ``RegionSpec``.
    """

    channels: Channels = "rgb"
    mean: Triple | None = None
    std: Triple | None = None
    stride_in: StridedKernel = "3x3"
    bn_eps: float = 1e-5
    box_weights: tuple[float, float, float, float] = BOX_WEIGHTS
    background_first: bool = True
    aligned: bool = False
    rounded_anchors: bool = True


@dataclass(frozen=True)
class Naming:
    """A library's names of modules; ``{n}``, ``{n1}``, ``{n2}`` count stages or levels from 0, 1, 2.

    Attributes:
        title: the library, for messages.
        backbone: (stem's convolution, its BN, a block, inside it: convolution i, BN i, shortcut, its BN).
        around: our module outside the backbone -> its name there; levels are written ``{n}`` on both sides.
        conventions: of the library's default configuration.
        ignored: beginnings of names that no detector needs.
    """

    title: str
    backbone: tuple[str, str, str, str, str, str, str]
    around: dict[str, str]
    conventions: Conventions = Conventions()
    ignored: tuple[str, ...] = ()

    def modules(self, spec: DetectorSpec) -> dict[str, str]:
        """Maps our name of every module with weights to its name there."""
        stem, stem_bn, *_ = self.backbone
        names = {"backbone.stem.conv": stem, "backbone.stem.bn": stem_bn}
        for stage, position, block in spec.backbone.blocks():
            ours, theirs = f"backbone.stages.{stage}.{position}.", self.block(stage, position)
            for mine, other in self._inside(len(block.channels), projection=block.projection):
                names[ours + mine] = theirs + other
        levels = [(key.format(n=n), _counted(name, n)) for key, name in self.around.items() for n in range(4)]
        return names | dict(levels)

    def block(self, stage: int, position: int) -> str:
        """Returns the beginning of a block's names."""
        return _counted(self.backbone[2], stage).replace("{b}", str(position))

    def depths(self, names: Iterable[str]) -> list[int]:
        """Counts the blocks per stage of a checkpoint with these names."""
        known = set(names)
        first = f"{self.backbone[3].format(i=1)}.weight"
        return [sum(self.block(s, b) + first in known for b in range(len(known))) for s in range(4)]

    def _inside(self, convolutions: int, *, projection: bool) -> Iterator[tuple[str, str]]:
        _, _, _, conv, bn, shortcut, shortcut_bn = self.backbone
        for i in range(1, convolutions + 1):
            yield f"conv{i}", conv.format(i=i)
            yield f"bn{i}", bn.format(i=i)
        if projection:
            yield "shortcut.conv", shortcut
            yield "shortcut.bn", shortcut_bn


def _counted(template: str, number: int) -> str:
    counts = {"{n}": number, "{n1}": number + 1, "{n2}": number + 2}
    for mark, count in counts.items():
        template = template.replace(mark, str(count))
    return template


def _resnet(prefix: str) -> tuple[str, str, str, str, str, str, str]:
    """Returns torchvision's names inside a ResNet, which MMDetection and timm share."""
    block = f"{prefix}layer{{n1}}.{{b}}."
    return f"{prefix}conv1", f"{prefix}bn1", block, "conv{i}", "bn{i}", "downsample.0", "downsample.1"


LOGITS, DELTAS = "roi.box_predictor.cls_score", "roi.box_predictor.bbox_pred"
_PARTS = (
    "neck.inner_blocks.{n}.0",
    "neck.layer_blocks.{n}.0",
    "rpn.head.conv.0.0",
    "rpn.head.cls_logits",
    "rpn.head.bbox_pred",
    "roi.box_head.fc6",
    "roi.box_head.fc7",
    LOGITS,
    DELTAS,
)


def _around(*names: str) -> dict[str, str]:
    return dict(zip(_PARTS, names, strict=True))


TORCHVISION = Naming(
    "torchvision",
    _resnet("backbone.body."),
    _around(
        "backbone.fpn.inner_blocks.{n}.0",
        "backbone.fpn.layer_blocks.{n}.0",
        "rpn.head.conv.0.0",
        "rpn.head.cls_logits",
        "rpn.head.bbox_pred",
        "roi_heads.box_head.fc6",
        "roi_heads.box_head.fc7",
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
    ),
)
MMDETECTION = Naming(
    "MMDetection",
    _resnet("backbone."),
    _around(
        "neck.lateral_convs.{n}.conv",
        "neck.fpn_convs.{n}.conv",
        "rpn_head.rpn_conv",
        "rpn_head.rpn_cls",
        "rpn_head.rpn_reg",
        "roi_head.bbox_head.shared_fcs.0",
        "roi_head.bbox_head.shared_fcs.1",
        "roi_head.bbox_head.fc_cls",
        "roi_head.bbox_head.fc_reg",
    ),
    Conventions(background_first=False, aligned=True, rounded_anchors=False),
    ignored=("data_preprocessor.", "head."),
)
DETECTRON2 = Naming(
    "Detectron2",
    (
        "backbone.bottom_up.stem.conv1",
        "backbone.bottom_up.stem.conv1.norm",
        "backbone.bottom_up.res{n2}.{b}.",
        "conv{i}",
        "conv{i}.norm",
        "shortcut",
        "shortcut.norm",
    ),
    _around(
        "backbone.fpn_lateral{n2}",
        "backbone.fpn_output{n2}",
        "proposal_generator.rpn_head.conv",
        "proposal_generator.rpn_head.objectness_logits",
        "proposal_generator.rpn_head.anchor_deltas",
        "roi_heads.box_head.fc1",
        "roi_heads.box_head.fc2",
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
    ),
    Conventions(
        channels="bgr",
        mean=CAFFE_MEAN,
        std=CAFFE_STD,
        stride_in="1x1",
        background_first=False,
        aligned=True,
        rounded_anchors=False,
    ),
    ignored=("pixel_mean", "pixel_std", "proposal_generator.anchor_generator."),
)
CLASSIFIER = Naming("ImageNet classifier", _resnet(""), {}, ignored=("fc.",))

# Their stems have different names, by which ``naming_of`` recognises them.
NAMINGS = (TORCHVISION, DETECTRON2, MMDETECTION, CLASSIFIER)


def naming_of(names: Iterable[str]) -> Naming | None:
    """Returns the library that a checkpoint comes from; None for names of no known library."""
    known = set(names)
    return next((naming for naming in NAMINGS if f"{naming.backbone[0]}.weight" in known), None)
