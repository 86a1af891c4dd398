"""Settings of the data: where the photos are and how they reach the detector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

from jdn_core.errors import cut, shown
from jdn_core.settings.values import FREE, AnyPath, Count, Probability, Whole
from jdn_core.space.architecture import Resolution

MOST_PIXELS = 50_000_000  # of a resolution, and of an image file


class DataSettings(BaseModel, frozen=True, extra="forbid", title="Data"):
    """Where the photos are and how they reach the detector."""

    root: Annotated[AnyPath | None, FREE] = Field(
        None, title="Dataset folder", description="Dataset folder in COCO format; `--data` sets it."
    )
    train_json: Annotated[AnyPath | None, FREE] = Field(
        None,
        title="Training annotations",
        description="Annotation file, where the folder's layout is not known.",
    )
    train_images: Annotated[AnyPath | None, FREE] = Field(
        None, title="Training images", description="Folder of the training images, where it is another one."
    )
    val_json: Annotated[AnyPath | None, FREE] = Field(
        None,
        title="Validation annotations",
        description="Annotation file; without one, and without a dataset folder, a fifth of train is taken.",
    )
    val_images: Annotated[AnyPath | None, FREE] = Field(
        None,
        title="Validation images",
        description="Folder of the validation images, where it is another one.",
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
    holdout: float | Literal["test"] = Field(
        0.0,
        title="Held-out photos",
        description="Share of the validation images that the search never sees, on which its result is "
        "measured at the end; `test`: the dataset's test split (ours).",
    )
    workers: Annotated[Whole, FREE] = Field(
        0, description="Processes that decode images; 0 decodes in the training process."
    )
    cache_mb: Annotated[Whole, FREE] = Field(
        2048, title="Cache (MiB)", description="Memory for decoded images, in MiB."
    )

    @field_validator("resolutions", mode="before")
    @classmethod
    def _one_or_more(cls, resolutions: object) -> object:
        """Takes ``64x64`` and ``64x64, 128x96`` too, as people write them behind ``--set``."""
        return resolutions.replace(",", " ").split() if isinstance(resolutions, str) else resolutions

    @field_validator("resolutions")
    @classmethod
    def _readable(cls, resolutions: tuple[str, ...]) -> tuple[str, ...]:
        parsed = [Resolution.parse(text) for text in resolutions]
        if len(set(parsed)) != len(parsed):
            raise ValueError(f"resolutions must differ, got {', '.join(resolutions)}")
        if max(frame.pixels for frame in parsed) > MOST_PIXELS:
            raise ValueError(f"resolutions must have at most 50 Mpx, got {cut(', '.join(resolutions))}")
        return tuple(str(resolution) for resolution in parsed)

    @field_validator("holdout", mode="before")
    @classmethod
    def _share_or_split(cls, holdout: object) -> object:
        is_number = isinstance(holdout, int | float) and not isinstance(holdout, bool)
        if not (holdout == "test" or (is_number and 0 <= holdout < 1)):  # type: ignore[operator]
            raise ValueError(f"holdout must be a share in [0, 1) or test, got {shown(holdout)}")
        return holdout

    @property
    def frames(self) -> tuple[Resolution, ...]:
        """Returns the resolutions as values, smallest area first."""
        return tuple(sorted(map(Resolution.parse, self.resolutions), key=lambda frame: (frame.pixels, frame)))
