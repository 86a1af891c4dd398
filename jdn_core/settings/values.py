"""Types of single settings with their ranges, and the mark of those that results do not depend on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from jdn_core.errors import shown

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


AnyPath = Annotated[Path, AfterValidator(_without_nul)]
Factors = Annotated[tuple[Rate, ...], Field(min_length=1), AfterValidator(_rising)]
Range = tuple[Count, Count]
Ranges = tuple[Range, Range, Range, Range]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
LONGEST_NAME = 100  # names are names of folders too


@dataclass(frozen=True)
class Free:
    """Marks a key that results do not depend on, so that it may change when a search goes on."""


FREE = Free()
