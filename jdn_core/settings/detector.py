"""Settings of the base detector, and of the checkpoint that it begins with."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from jdn_core.settings.values import AnyPath, Count, Range, Rate, Weight
from jdn_core.space.architecture import DetectorSpec, RegionSpec, StridedKernel
from jdn_core.space.families import Family

Triple = tuple[float, float, float]
Deviations = tuple[Rate, Rate, Rate]
BoxWeights = tuple[Rate, Rate, Rate, Rate]
ClassHead = Literal["by_name", "keep", "new"]
Channels = Literal["rgb", "bgr"]


class CheckpointSettings(BaseModel, frozen=True, extra="forbid", title="Checkpoint"):
    """How `detector.pretrained` is read (ours); none means as the library that wrote it does by default."""

    head: ClassHead = Field(
        "by_name",
        description="Class head: the dataset's classes out of the file's, all of them in order, or fresh.",
    )
    classes: tuple[str, ...] | None = Field(
        None, description="Names of the file's classes by label; none: as the file or COCO has them."
    )
    channels: Channels | None = Field(
        None, description="Order of the image's channels; `bgr` also means Caffe's mean and std."
    )
    mean: Triple | None = Field(None, description="Of pixels in 0..255, in the order of the channels.")
    std: Deviations | None = Field(None, description="Of pixels in 0..255, in the order of the channels.")
    stride_in: StridedKernel | None = Field(
        None, description="Convolution of a bottleneck that has the stride; `1x1` is Caffe's style."
    )
    bn_eps: Weight | None = Field(None, title="BN epsilon", description="What BN adds to variances.")
    box_weights: BoxWeights | None = Field(
        None, description="What the box head's dx, dy, dw, dh are divided by; 10, 10, 5, 5 as a rule."
    )
    aligned: bool | None = Field(None, description="Whether RoIAlign takes a cell's value for its middle's.")
    rounded_anchors: bool | None = Field(None, description="Whether anchors are rounded to whole pixels.")

    @model_validator(mode="after")
    def _whole_normalisation(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both or neither")
        return self


class DetectorSettings(BaseModel, frozen=True, extra="forbid", title="Detector"):
    """The base detector: Faster R-CNN with FPN."""

    family: Family = Field("r50", description="Backbone family of the base.")
    width: Rate = Field(1.0, description="Factor on the backbone's channels; below 1 for CPUs.")
    neck: Count = Field(DetectorSpec.neck, description="Channels of the FPN and of the RPN's convolution.")
    head: Count = Field(
        DetectorSpec.head, description="Width of the two fully connected layers of the box head."
    )
    anchor_sizes: tuple[Count, Count, Count, Count, Count] = Field(
        RegionSpec.anchor_sizes, description="Side of the anchors of P2..P6, in pixels."
    )
    aspect_ratios: tuple[Rate, ...] = Field(
        RegionSpec.aspect_ratios, min_length=1, description="Height / width of the anchors."
    )
    train_proposals: Range = Field(
        RegionSpec.train_proposals, description="Proposals an image before and after NMS, in training."
    )
    proposals: Range = Field(
        RegionSpec.proposals, description="Proposals an image before and after NMS, in detection."
    )
    anchors_per_image: Count = Field(
        RegionSpec.anchors_per_image,
        title="Anchors per image",
        description="Anchors sampled for the RPN's loss.",
    )
    rois_per_image: Count = Field(
        RegionSpec.rois_per_image,
        title="RoIs per image",
        description="Proposals sampled for the box head's loss and for distillation.",
    )
    pooled: Count = Field(RegionSpec.pooled, description="Side of the RoI-aligned features.")
    pretrained: AnyPath | None = Field(
        None,
        title="Pretrained checkpoint",
        description="Checkpoint of torchvision, MMDetection or Detectron2, or a backbone, to begin with.",
    )
    checkpoint: CheckpointSettings = Field(
        default_factory=CheckpointSettings, description="How `pretrained` is read."
    )
