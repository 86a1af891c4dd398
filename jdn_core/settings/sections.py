"""The sections of the settings: each room of the core takes its own.

Values marked "ours" stand where the paper is silent (FACTS marks them as chosen); all others are the paper's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from jdn_core.errors import cut, shown
from jdn_core.space.architecture import Resolution, StridedKernel
from jdn_core.space.families import Family
from jdn_core.space.teachers import SubnetSpace

_LARGEST = 2**31 - 1  # what C takes for a count; more is a slip of the keyboard
Count = Annotated[int, Field(strict=True, ge=1, le=_LARGEST)]
Whole = Annotated[int, Field(strict=True, ge=0, le=_LARGEST)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**64)]
Rate = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, gt=0, lt=1, allow_inf_nan=False)]
Probability = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


def _rising(widths: tuple[float, ...]) -> tuple[float, ...]:
    if list(widths) != sorted(set(widths)):
        raise ValueError(f"widths must rise, got {list(widths)}")
    return widths


def _without_nul(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError(f"a path has no NUL, got {shown(str(path))}")
    return path


Place = Annotated[Path, AfterValidator(_without_nul)]
Factors = Annotated[tuple[Rate, ...], Field(min_length=1), AfterValidator(_rising)]
Range = tuple[Count, Count]
Ranges = tuple[Range, Range, Range, Range]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
# Keys of trainings that are younger than the first searches, with what those did: their digests must stay.
LONGEST_NAME = 100  # names are names of folders too
MOST_PIXELS = 50_000_000  # of a resolution, and of an image file
# user:password@, but not host:port/path@, or a password in the query
_PASSWORD = re.compile(r"://[^/@]*:(?!\d+(?:/|$))[^@]*@|[?&](?:password|passwd|pwd|token)=", re.IGNORECASE)


class DataSettings(BaseModel, frozen=True, extra="forbid", title="Data"):
    """Where the photos are and how they reach the detector."""

    root: Place | None = Field(
        None, title="Dataset folder", description="Dataset folder in COCO format; `--data` sets it."
    )
    resolutions: tuple[str, ...] = Field(
        ("512x512", "800x600", "1080x720", "1333x800"),
        min_length=1,
        description="Input frames in pixels; one is drawn per training iteration, all are evaluated.",
    )
    flip: Probability = Field(0.5, description="Chance that a training image is mirrored left to right.")
    drop_bad_boxes: bool = Field(
        False, description="Leave out unusable boxes, counted, instead of refusing the data."
    )
    max_train_images: Count | None = Field(
        None, title="Most training images", description="Use only the first images of the training split."
    )
    max_val_images: Count | None = Field(
        None, title="Most validation images", description="Use only the first images of the validation split."
    )
    workers: Whole = Field(0, description="Processes that decode images; 0 decodes in the training process.")
    cache_mb: Whole = Field(2048, title="Cache (MiB)", description="Memory for decoded images, in MiB.")

    @field_validator("resolutions")
    @classmethod
    def _readable(cls, resolutions: tuple[str, ...]) -> tuple[str, ...]:
        parsed = [Resolution.parse(text) for text in resolutions]
        if len(set(parsed)) != len(parsed):
            raise ValueError(f"resolutions must differ, got {', '.join(resolutions)}")
        if max(frame.pixels for frame in parsed) > MOST_PIXELS:
            raise ValueError(f"resolutions must have at most 50 Mpx, got {cut(', '.join(resolutions))}")
        return tuple(str(resolution) for resolution in parsed)

    @property
    def frames(self) -> tuple[Resolution, ...]:
        """The resolutions as values, smallest area first."""
        return tuple(sorted(map(Resolution.parse, self.resolutions), key=lambda frame: (frame.pixels, frame)))


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
    neck: Count = Field(256, description="Channels of the FPN and of the RPN's convolution.")
    head: Count = Field(1024, description="Width of the two fully connected layers of the box head.")
    anchor_sizes: tuple[Count, Count, Count, Count, Count] = Field(
        (32, 64, 128, 256, 512), description="Side of the anchors of P2..P6, in pixels."
    )
    aspect_ratios: tuple[Rate, ...] = Field(
        (0.5, 1.0, 2.0), min_length=1, description="Height / width of the anchors."
    )
    train_proposals: Range = Field(
        (2000, 1000), description="Proposals an image before and after NMS, in training."
    )
    proposals: Range = Field(
        (1000, 1000), description="Proposals an image before and after NMS, in detection."
    )
    anchors_per_image: Count = Field(
        256, title="Anchors per image", description="Anchors sampled for the RPN's loss."
    )
    rois_per_image: Count = Field(
        512,
        title="RoIs per image",
        description="Proposals sampled for the box head's loss and for distillation.",
    )
    pooled: Count = Field(7, description="Side of the RoI-aligned features.")
    pretrained: Place | None = Field(
        None,
        title="Pretrained checkpoint",
        description="Checkpoint of torchvision, MMDetection or Detectron2, or a backbone, to begin with.",
    )
    checkpoint: CheckpointSettings = Field(
        default_factory=CheckpointSettings, description="How `pretrained` is read."
    )


class TrainingSettings(BaseModel, frozen=True, extra="forbid", title="Training"):
    """One training: SGD with momentum under a schedule with warm-up."""

    epochs: Count = Field(24, description="Passes over the training images.")
    batch: Count = Field(16, description="Images an iteration, over all devices.")
    device_batch: Count | None = Field(
        None,
        description="Most images at once on a device; gradients of more are added up, BN sees parts (ours).",
    )
    lr: Rate = Field(0.02, title="Learning rate", description="Highest learning rate, at the given batch.")
    schedule: Literal["cosine", "step"] = Field("step", description="How the rate falls.")
    steps: tuple[Share, ...] = Field(
        (0.67, 0.92), description="Shares of the training at which `step` divides by 10."
    )
    warmup: Whole = Field(500, description="Iterations of linear warm-up, at most a quarter of the training.")
    momentum: Probability = Field(0.9, description="Momentum of SGD.")
    weight_decay: Weight = Field(1e-4, description="L2 penalty; BN and biases are exempt.")
    clip_norm: Rate = Field(10.0, description="Norm that gradients are clipped to (ours).")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of convolutions and linear layers; weights, boxes and losses stay float32 (ours).",
    )
    recompute: bool = Field(
        False,
        description="Keep no activations inside the backbone's blocks: less memory, more time (ours).",
    )


class BaseSettings(TrainingSettings, frozen=True, extra="forbid", title="Base"):
    """The base's training; without any epoch a pretrained detector is taken as it is."""

    epochs: Whole = Field(
        24, description="Passes over the training images; 0 takes `detector.pretrained` as it is."
    )


Sampling = Literal["single", "sandwich"]


class PhaseSettings(TrainingSettings, frozen=True, extra="forbid", title="Phase"):
    """One phase of integrated progressive shrinking: which subnets take part, and their training."""

    name: str = Field(
        pattern=NAME, max_length=LONGEST_NAME, description="Name of the phase in folders and in MLflow."
    )
    depths: Ranges | None = Field(
        None, description="Least and most blocks per stage; none: the super-network's."
    )
    widths: Factors | None = Field(None, description="Width factors; none: the super-network's largest.")
    sampling: Sampling = Field(
        "single",
        description="An iteration trains one random subnet, or the largest, the smallest and a random one.",
    )


class SpaceSettings(BaseModel, frozen=True, extra="forbid", title="Space of subnets"):
    """The subnet space: bottlenecks with elastic depth, width and neck (paper, section 3.1.3)."""

    depths: Ranges = Field(((2, 3), (2, 4), (2, 23), (2, 3)), description="Least and most blocks per stage.")
    widths: Factors = Field((1.0, 1.25, 1.5), description="Width factors of every slot.")
    width: Rate = Field(1.0, description="Factor on ResNet's channels at width factor 1; below 1 for CPUs.")
    neck: Count = Field(256, description="Channels of the FPN at width factor 1.")
    head: Count = Field(1024, description="Width of the box head; the same in every subnet.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for least, most in self.depths:
            if least > most:
                raise ValueError(f"depths must be [least, most], got [{least}, {most}]")
        return self

    @property
    def subnets(self) -> SubnetSpace:
        """The space as a value of the core."""
        return SubnetSpace(self.depths, self.widths, width=self.width, neck=self.neck, head=self.head)


def _paper_phases() -> tuple[PhaseSettings, ...]:
    """Three phases (supplement); their rates and epochs are lost in Table 8, so these are ours."""
    return (
        PhaseSettings(name="supernet", epochs=24, lr=0.08, batch=64),
        PhaseSettings(
            name="shrink-1",
            epochs=5,
            lr=0.008,
            batch=64,
            depths=((2, 3), (3, 4), (12, 23), (2, 3)),
            widths=(1.25, 1.5),
        ),
        PhaseSettings(
            name="shrink-2",
            epochs=16,
            lr=0.016,
            batch=64,
            depths=((2, 3), (2, 4), (2, 23), (2, 3)),
            widths=(1.0, 1.25, 1.5),
        ),
    )


class PoolSettings(BaseModel, frozen=True, extra="forbid", title="Pool"):
    """The elastic teacher pool and its integrated progressive shrinking."""

    space: SpaceSettings = Field(default_factory=SpaceSettings, description="Which subnets there are.")
    phases: tuple[PhaseSettings, ...] = Field(
        _paper_phases(),  # no factory, so that forms show it
        min_length=1,
        description="First the super-network alone, then shrinking phases.",
    )
    calibration_images: Count = Field(
        64, description="Training images that reset a subnet's BN statistics (ours)."
    )
    assessed_subnets: Whole = Field(
        1,
        description="Random subnets whose AP is told after each phase, beside the largest and the smallest; "
        "0: no AP at all (ours).",
    )
    processes: Count | None = Field(
        1,
        description="That train the pool together, each on a GPU of its own if there are any; "
        "none: one for each GPU (ours).",
    )

    @model_validator(mode="after")
    def _phases_stay_inside(self) -> Self:
        for phase in self.phases:
            for stage, (inner, outer) in enumerate(
                zip(phase.depths or self.space.depths, self.space.depths, strict=True)
            ):
                if not outer[0] <= inner[0] <= inner[1] <= outer[1]:
                    place = f"phase {phase.name}: depths of stage {stage + 1}"
                    raise ValueError(f"{place} must lie in {list(outer)}, got {list(inner)}")
            strange = set(phase.widths or ()) - set(self.space.widths)
            if strange:
                raise ValueError(
                    f"phase {phase.name}: widths {sorted(strange)} are not among {list(self.space.widths)}"
                )
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases must have names of their own, got {names}")
        return self


class SearchSettings(BaseModel, frozen=True, extra="forbid", title="Search"):
    """Hill climbing over student-teacher pairs (paper, section 3.1.4)."""

    iterations: Count = Field(100, description="Pairs to evaluate after the base.")
    top_k: Count = Field(5, title="Top k", description="Pairs that may become parents.")
    workers: Count = Field(1, description="Evaluations at a time.")
    evaluator: Literal["local", "work_pool"] = Field(
        "local",
        description="Where pairs are evaluated: by processes here, or by workers of a Prefect pool (ours).",
    )
    work_pool: str = Field(
        "jdn",
        pattern=NAME,
        max_length=LONGEST_NAME,
        description="The pool whose workers evaluate pairs, with evaluator: work_pool (ours).",
    )
    lookback: Count | None = Field(
        None,
        description="How many pairs ago the newest known result is; none: 1, or 2 x workers if several.",
    )
    frozen_student_iterations: Whole = Field(5, description="First iterations that only mutate the teacher.")
    student_probability: Probability = Field(
        0.5, description="Chance that the student evolves, not the teacher (ours)."
    )
    prune_shares: tuple[Share, ...] = Field(
        (0.05, 0.1), min_length=1, description="Shares of the channels that one pruning may remove (ours)."
    )
    draw: Literal["instance", "kind"] = Field(
        "instance",
        description="What is equally likely: every change, or every kind of change first (ours).",
    )
    max_failures: Count = Field(10, description="Failed pairs in a row that stop the search (ours).")
    hang_medians: Rate = Field(
        100.0, description="A worker without a sign of life for so many median steps is replaced (ours)."
    )
    hang_seconds: Rate = Field(600.0, description="The least time that a worker may be silent (ours).")

    @model_validator(mode="after")
    def _lookback_covers_workers(self) -> Self:
        if self.lookback is not None and self.lookback < self.workers:
            raise ValueError(f"lookback must be >= workers ({self.workers}), got {self.lookback}")
        return self

    @property
    def effective_lookback(self) -> int:
        return self.lookback or (1 if self.workers == 1 else 2 * self.workers)


class EvaluationSettings(TrainingSettings, frozen=True, extra="forbid", title="Evaluation"):
    """Fast evaluation of a pair: short distilled training, then AP at every resolution (supplement, A.1)."""

    epochs: Count = Field(3, description="Passes over the training images for one pair.")
    batch: Count = Field(4, description="Images an iteration.")
    lr: Rate = Field(0.01, title="Learning rate", description="Highest learning rate.")
    schedule: Literal["cosine", "step"] = Field("cosine", description="How the rate falls.")
    warmup: Whole = Field(0, description="Iterations of linear warm-up, at most a quarter of the training.")
    latency_warmup: Whole = Field(5, description="Detections before the clock runs.")
    latency_repeats: Count = Field(30, description="Detections whose median is the latency.")


class DistillationSettings(BaseModel, frozen=True, extra="forbid", title="Distillation"):
    """What the student learns from the teacher (paper, section 3.2)."""

    feature: Weight = Field(1.0, description="Weight of L_feat.")
    classification: Weight = Field(1.0, description="Weight of L_cls.")
    localisation: Weight = Field(1.0, description="Weight of L_loc.")
    localisation_form: Literal["class_aware", "l1"] = Field(
        "class_aware", description="Deltas weighted by the teacher's classes, or plain L1."
    )
    both_sides: bool = Field(
        False, description="Adaptors on the teacher's side too; allows the trivial zero solution."
    )
    sparsity: Weight = Field(
        1e-5, description="lambda of the L1 on BN weights, in every training of the student."
    )


class ScoreSettings(BaseModel, frozen=True, extra="forbid", title="Score"):
    """H(S, R): accuracy against cost, relative to the base at the largest resolution."""

    form: Literal["product", "res_power", "additive"] = Field(
        "product", description="How AP and cost are joined (ours)."
    )
    alpha: Weight = Field(0.4, description="How much cost counts.")
    beta: Probability = Field(0.8, description="Share of the architecture's cost against the resolution's.")
    max_macs: Rate | None = Field(
        None, title="Most MACs", description="Hard bound on the MACs at the pair's resolution (ours)."
    )
    min_ap: Probability | None = Field(
        None, title="Least AP", description="Hard bound on AP, as a fraction (ours)."
    )
    keep_base_ap: bool = Field(
        False, title="Keep the base's AP", description="Hard bound: AP at least the base's (ours)."
    )


class TrackingSettings(BaseModel, frozen=True, extra="forbid", title="Tracking"):
    """What MLflow and Prefect are told, and where."""

    uri: str | None = Field(
        None,
        title="Tracking URI",
        description="Tracking URI; none: MLFLOW_TRACKING_URI, else SQLite in the search's folder.",
    )
    patience: Rate = Field(
        60.0, description="Seconds that a search waits for Prefect's server before it ends (ours)."
    )
    figures_every: Count = Field(10, description="Pairs between two figures of the running search.")
    keep_weights: Literal["all", "needed"] = Field(
        "all",
        description="Weights on this disk: all, or those that the search needs while MLflow has the others.",
    )
    preview_images: Whole = Field(
        4, description="Validation images with truth and detections, kept with every pair."
    )

    @field_validator("uri")
    @classmethod
    def _without_password(cls, uri: str | None) -> str | None:
        if uri is not None and _PASSWORD.search(uri):
            raise ValueError(
                "the URI holds a password; use MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri
