"""Settings of what MLflow and Prefect show of a run, and where."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from jdn_core.settings.values import Count, Rate, Whole

# user:password@, but not host:port/path@, or a password in the query
_PASSWORD = re.compile(r"://[^/@]*:(?!\d+(?:/|$))[^@]*@|[?&](?:password|passwd|pwd|token)=", re.IGNORECASE)


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
