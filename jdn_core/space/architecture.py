"""What a detector is before it has weights: frozen values with a JSON form and a content key.

An architecture is a list of blocks, not a depth per stage (paper, appendix B): pruning leaves every block its
own widths and rearranging leaves two widths in one stage, so nothing shorter than the list describes a
student.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from jdn_core.storage.canonical import canonical_json, content_key
from jdn_core.storage.schemas import require_schema

SCHEMA = 1  # of detector.json
BlockKind = Literal["basic", "bottleneck"]
StridedKernel = Literal["3x3", "1x1"]


class Resolution(NamedTuple):
    """An input frame in pixels; images keep their ratio inside it (landscape WxH, portrait HxW)."""

    width: int
    height: int

    @classmethod
    @lru_cache(maxsize=256)
    def parse(cls, text: str) -> Resolution:
        """Reads ``"1333x800"``.

        Raises:
            ValueError: the text is not two positive whole numbers joined by ``x``.
        """
        width, cross, height = text.lower().partition("x")
        if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            raise ValueError(f"resolution must look like 1333x800, got {text!r}")
        return cls(int(width), int(height))

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


LARGEST = Resolution(1333, 800)


@dataclass(frozen=True)
class BlockSpec:
    """One residual block.

    Attributes:
        kind: ``basic`` (two 3x3 convolutions) or ``bottleneck`` (1x1, 3x3, 1x1).
        channels: output channels of each convolution, two or three of them; the last is the block's output
            width.
        stride: 1 or 2, carried by the convolution that ``stride_in`` names and by the shortcut.
        projection: whether the shortcut is a 1x1 convolution with BN; needed where stride or width change.
        groups: of the 3x3 convolution in a bottleneck (ResNeXt); 1 elsewhere.
        born: the stage, 0 to 3, that the block was created in. Blocks born in one stage share an output
            width, also after a move to another stage (FACTS, section 1).
        stride_in: the kernel whose first convolution carries the stride. ``1x1`` is the bottleneck of the
            first ResNets (Caffe, Detectron2's MSRA weights); everything newer has ``3x3``.
    """

    kind: BlockKind
    channels: tuple[int, ...]
    stride: int = 1
    projection: bool = False
    groups: int = 1
    born: int = 0
    stride_in: StridedKernel = "3x3"

    def __post_init__(self) -> None:
        convolutions = 2 if self.kind == "basic" else 3
        if len(self.channels) != convolutions:
            raise ValueError(
                f"a {self.kind} block has {convolutions} convolutions, got channels {self.channels}"
            )
        if min(self.channels) < 1:
            raise ValueError(f"channels must be >= 1, got {self.channels}")
        if self.stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2, got {self.stride}")
        if self.stride_in not in (("3x3", "1x1") if self.kind == "bottleneck" else ("3x3",)):
            raise ValueError(f"a {self.kind} block cannot have its stride in {self.stride_in!r}")
        if self.groups != 1 and (
            self.kind == "basic" or self.inner % self.groups or self.channels[0] % self.groups
        ):
            raise ValueError(
                f"groups must divide the inner widths of a bottleneck, got {self.groups}, {self.channels}"
            )

    @property
    def out(self) -> int:
        return self.channels[-1]

    @property
    def inner(self) -> int:
        """Output channels of the 3x3 convolution that may be grouped (the last but one)."""
        return self.channels[-2]

    @property
    def strided(self) -> int:
        """Position of the convolution that carries the stride."""
        return 1 if self.kind == "bottleneck" and self.stride_in == "3x3" else 0


@dataclass(frozen=True)
class BackboneSpec:
    """A stem of one 7x7 stride-2 convolution and a max-pool, then four stages of blocks giving C2..C5.

    Raises:
        ValueError: a stage is empty, a stage's strides do not halve the resolution exactly where they must,
            or a block changes width or resolution without a projection.
    """

    stem: int
    stages: tuple[tuple[BlockSpec, ...], ...]

    def __post_init__(self) -> None:
        if self.stem < 1:
            raise ValueError(f"stem must be >= 1, got {self.stem}")
        if len(self.stages) != 4 or not all(self.stages):
            raise ValueError(f"a backbone has four stages of one block at least, got depths {self.depths}")
        for stage, blocks in enumerate(self.stages):
            strides = [block.stride for block in blocks]
            wanted = [1 if stage == 0 else 2] + [1] * (len(blocks) - 1)
            if strides != wanted:
                raise ValueError(f"stage {stage + 1} must have strides {wanted}, got {strides}")
        for (stage, position, block), width in zip(self.blocks(), self.inputs(), strict=True):
            if not block.projection and (block.stride != 1 or block.out != width):
                place = f"block {position + 1} of stage {stage + 1}"
                raise ValueError(
                    f"{place} needs a projection: {width} -> {block.out} at stride {block.stride}"
                )

    @property
    def depths(self) -> tuple[int, ...]:
        return tuple(len(blocks) for blocks in self.stages)

    @property
    def outs(self) -> tuple[int, ...]:
        """Output widths of the four stages, which the FPN's lateral convolutions follow."""
        return tuple(blocks[-1].out for blocks in self.stages)

    def blocks(self) -> Iterator[tuple[int, int, BlockSpec]]:
        """Returns (stage, position in it, block), in the order of the data."""
        for stage, blocks in enumerate(self.stages):
            for position, block in enumerate(blocks):
                yield stage, position, block

    def inputs(self) -> tuple[int, ...]:
        """Returns the input width of every block, in the order of ``blocks()``."""
        return (self.stem, *(block.out for _, _, block in self.blocks()))[:-1]

    def pack(self) -> str:
        """Writes the backbone as numbers alone: JSON that is read ten times as fast as ``to_json``'s.

        A block is its two or three channels, then stride, projection (0 or 1), groups, stage of birth, and
        the first digit of ``stride_in``.
        """
        return canonical_json([self.stem, [[_packed(block) for block in blocks] for blocks in self.stages]])

    @classmethod
    def unpack(cls, text: str) -> BackboneSpec:
        """Reads what ``pack`` wrote."""
        stem, stages = json.loads(text)
        return cls(stem, tuple(tuple(_unpacked(*row) for row in blocks) for blocks in stages))

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = _plain(self)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BackboneSpec:
        """Raises ValueError, KeyError or TypeError where the data is broken."""
        stages = tuple(tuple(_block(**block) for block in blocks) for blocks in data["stages"])
        return _backbone(data["stem"], stages)


@dataclass(frozen=True)
class RegionSpec:
    """Everything between the pyramid and the boxes: anchors, proposals, RoI sampling, detections.

    Attributes:
        anchor_sizes: side in pixels of the anchors of the five pyramid levels P2..P6.
        aspect_ratios: height / width of the anchors of one cell.
        train_proposals: proposals an image before and after NMS, while training.
        proposals: the same while detecting; the second number also counts the RoIs of the complexity.
        anchors_per_image: anchors sampled for the RPN's loss.
        rois_per_image: proposals sampled for the box head's loss and shared in distillation.
        pooled: side of the RoI-aligned features.
        detections: boxes an image at the most.
        score_threshold: least score of a detection.
        nms_iou: IoU above which the lower of two detections of a class is dropped.
        rounded_anchors: whether the anchors' corners are whole pixels around their centre, as torchvision has
            them; MMDetection and Detectron2 do not round.
        aligned: whether RoIAlign takes a cell's value for that of the cell's middle, as MMDetection and
            Detectron2 do; torchvision takes it for that of the cell's corner.
    """

    anchor_sizes: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    train_proposals: tuple[int, int] = (2000, 1000)
    proposals: tuple[int, int] = (1000, 1000)
    anchors_per_image: int = 256
    rois_per_image: int = 512
    pooled: int = 7
    detections: int = 100
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    rounded_anchors: bool = True
    aligned: bool = False

    def __post_init__(self) -> None:
        if len(self.anchor_sizes) != 5:
            raise ValueError(f"anchor_sizes must name five pyramid levels, got {self.anchor_sizes}")


@dataclass(frozen=True)
class DetectorSpec:
    """A whole Faster R-CNN with FPN: what ``detector.json`` holds and what ``build`` takes.

    Attributes:
        backbone: the list of blocks.
        classes: (category id of the dataset, name), in the order of the labels 1..K.
        neck: width of the FPN, the RPN's convolution included.
        head: width of the two fully connected layers of the box head.
        region: anchors, proposals, RoI sampling.
        resolution: the frame that detections are made in unless told otherwise.
        mean, std: per RGB channel, of pixels in 0..1.
    """

    backbone: BackboneSpec
    classes: tuple[tuple[int, str], ...]
    neck: int = 256
    head: int = 1024
    region: RegionSpec = field(default_factory=RegionSpec)
    resolution: Resolution = LARGEST
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = _plain(self)
        return {"schema": SCHEMA, **data, "resolution": str(self.resolution)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DetectorSpec:
        """Raises FormatError for another schema, and ValueError, KeyError or TypeError for broken data."""
        require_schema(data, SCHEMA, "detector.json")
        region: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data["region"].items()
        }
        return cls(
            backbone=BackboneSpec.from_json(data["backbone"]),
            classes=tuple((int(id_), str(name)) for id_, name in data["classes"]),
            neck=data["neck"],
            head=data["head"],
            region=_region(**region),
            resolution=Resolution.parse(data["resolution"]),
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
        )

    @property
    def key(self) -> str:
        return content_key(self.to_json())


def _block(channels: list[int], **others: Any) -> BlockSpec:
    """Builds a block out of its JSON."""
    return _made(channels=tuple(channels), **others)


def _packed(block: BlockSpec) -> list[int]:
    kernel = int(block.stride_in[0])
    return [*block.channels, block.stride, int(block.projection), block.groups, block.born, kernel]


def _unpacked(*numbers: int) -> BlockSpec:
    *channels, stride, projection, groups, born, stride_in = numbers
    kind: BlockKind = "basic" if len(channels) == 2 else "bottleneck"
    kernel: StridedKernel = "3x3" if stride_in == 3 else "1x1"
    return BlockSpec(kind, tuple(channels), stride, bool(projection), groups, born, kernel)


# Pairs have most of these in common: made once, 10,000 records are read in two thirds of the time.
_made = lru_cache(maxsize=1 << 14)(BlockSpec)
_backbone = lru_cache(maxsize=1 << 14)(BackboneSpec)
_region = lru_cache(maxsize=64)(RegionSpec)


def _plain(value: Any) -> Any:
    """Returns a value as JSON would read it back, with lists for tuples; ten times as fast as ``asdict``."""
    if isinstance(value, tuple):
        return [_plain(each) if isinstance(each, _PARTS) else each for each in value]
    members = ((name, getattr(value, name)) for name in value.__match_args__)
    return {name: _plain(each) if isinstance(each, _PARTS) else each for name, each in members}


_PARTS = (tuple, BlockSpec, BackboneSpec, RegionSpec)
