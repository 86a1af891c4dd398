"""Settings of one training, and what the base's and a pair's differ in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from jdn_core.settings.values import FREE, Count, Probability, Rate, Share, Weight, Whole

Schedule = Literal["cosine", "step", "constant"]


class TrainingSettings(BaseModel, frozen=True, extra="forbid", title="Training"):
    """One training: SGD with momentum under a schedule with warm-up."""

    epochs: Count = Field(24, description="Passes over the training images.")
    batch: Count = Field(16, description="Images an iteration, over all devices.")
    device_batch: Count | None = Field(
        None,
        description="Most images at once on a device; gradients of more are added up, BN sees parts (ours).",
    )
    lr: Rate = Field(0.02, title="Learning rate", description="Highest learning rate, at the given batch.")
    schedule: Schedule = Field("step", description="How the rate falls.")
    steps: tuple[Share, ...] = Field(
        (0.67, 0.92), description="Shares of the training at which `step` divides by 10."
    )
    cooldown: Probability = Field(
        0.0, description="Share of the training, its last, in which a `constant` rate falls to zero (ours)."
    )
    average: Weight = Field(
        0.0,
        description="Horizon, in epochs, of a running average of the weights that is measured and kept; "
        "0: the last weights (ours).",
    )
    warmup: Whole = Field(500, description="Iterations of linear warm-up, at most a quarter of the training.")
    momentum: Probability = Field(0.9, description="Momentum of SGD.")
    weight_decay: Weight = Field(1e-4, description="L2 penalty; BN and biases are exempt.")
    clip_norm: Rate = Field(10.0, description="Norm that gradients are clipped to (ours).")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of convolutions and linear layers; weights, boxes and losses stay float32 (ours).",
    )
    recompute: Annotated[bool, FREE] = Field(
        False,
        description="Keep no activations inside the backbone's blocks: less memory, more time (ours).",
    )


class BaseSettings(TrainingSettings, frozen=True, extra="forbid", title="Base"):
    """The base's training; without any epoch a pretrained detector is taken as it is."""

    epochs: Whole = Field(
        24, description="Passes over the training images; 0 takes `detector.pretrained` as it is."
    )


class EvaluationSettings(TrainingSettings, frozen=True, extra="forbid", title="Evaluation"):
    """Fast evaluation of a pair: short distilled training, then AP at every resolution (supplement, A.1)."""

    epochs: Count = Field(3, description="Passes over the training images for one pair.")
    batch: Count = Field(4, description="Images an iteration.")
    lr: Rate = Field(0.01, title="Learning rate", description="Highest learning rate.")
    schedule: Schedule = Field("cosine", description="How the rate falls.")
    warmup: Whole = Field(0, description="Iterations of linear warm-up, at most a quarter of the training.")
    latency_warmup: Annotated[Whole, FREE] = Field(5, description="Detections before the clock runs.")
    latency_repeats: Annotated[Count, FREE] = Field(30, description="Detections whose median is the latency.")
