"""Settings of the elastic teacher pool: its subnets and the phases of its training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from jdn_core.settings.training import TrainingSettings
from jdn_core.settings.values import FREE, LONGEST_NAME, NAME, Count, Factors, Ranges, Rate, Whole
from jdn_core.space.teachers import SubnetSpace

Sampling = Literal["single", "sandwich"]
Start = Literal["scratch", "base"]


class SpaceSettings(BaseModel, frozen=True, extra="forbid", title="Space of subnets"):
    """The subnet space: elastic depth, width and neck (paper, section 3.1.3).

    A pool that starts as the base has the base's blocks, width, neck and head, and these three count for
    nothing.
    """

    depths: Ranges = Field(SubnetSpace.depths, description="Least and most blocks per stage.")
    widths: Factors = Field(SubnetSpace.widths, description="Width factors of every slot.")
    width: Rate = Field(
        SubnetSpace.width, description="Factor on ResNet's channels at width factor 1; below 1 for CPUs."
    )
    neck: Count = Field(SubnetSpace.neck, description="Channels of the FPN at width factor 1.")
    head: Count = Field(SubnetSpace.head, description="Width of the box head; the same in every subnet.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for least, most in self.depths:
            if least > most:
                raise ValueError(f"depths must be [least, most], got [{least}, {most}]")
        return self

    @property
    def subnets(self) -> SubnetSpace:
        """Returns the space as a value of the core."""
        return SubnetSpace(self.depths, self.widths, width=self.width, neck=self.neck, head=self.head)


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
    start: Start = Field(
        "scratch",
        description="Bottlenecks with fresh weights (paper), or the base made wider and deeper, which is as "
        "good as the base before its first step (ours).",
    )
    phases: tuple[PhaseSettings, ...] = Field(
        _paper_phases(),  # no factory, so that forms show it
        min_length=1,
        description="First the super-network alone, then shrinking phases.",
    )
    calibration_images: Count = Field(
        64, description="Training images that reset a subnet's BN statistics (ours)."
    )
    assessed_subnets: Annotated[Whole, FREE] = Field(
        1,
        description="Random subnets whose AP is told after each phase, beside the largest and the smallest; "
        "0: no AP at all, of the pairs' teachers neither (ours).",
    )
    processes: Annotated[Count | None, FREE] = Field(
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
