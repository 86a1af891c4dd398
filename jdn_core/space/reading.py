"""Specifications out of files that anyone may have written or damaged: every value has its type."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from jdn_core.errors import FormatError, shown
from jdn_core.space.architecture import BackboneSpec, DetectorSpec

# What reading something broken can raise; JSON may hold any value where a list or an object should be.
BROKEN = (ValueError, KeyError, TypeError, AttributeError, FormatError)
_DETECTOR, _BACKBONE = TypeAdapter(DetectorSpec), TypeAdapter(BackboneSpec)


def read_detector(data: Any) -> DetectorSpec:
    """Reads what ``DetectorSpec.to_json`` gave; raises one of ``BROKEN`` where the data is anything else."""
    return _DETECTOR.validate_json(json.dumps(asdict(DetectorSpec.from_json(data))), strict=True)


def read_backbone(data: Any) -> BackboneSpec:
    """Reads what ``BackboneSpec.to_json`` gave; raises one of ``BROKEN`` where the data is anything else."""
    return _BACKBONE.validate_json(json.dumps(asdict(BackboneSpec.from_json(data))), strict=True)


def reason(error: Exception) -> str:
    """Says why something could not be read, in a line."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        what = first["msg"][0].lower() + first["msg"][1:]
        return f"{'.'.join(map(str, first['loc']))}: {what}, got {shown(first['input'])}"
    return str(error).partition("\n")[0]
