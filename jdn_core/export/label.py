"""What an exported file says about itself: enough to use it without jdn, and for jdn to measure it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jdn_core.data.loading import SIZE_DIVISOR
from jdn_core.errors import CheckpointError, UsageError
from jdn_core.space.architecture import DetectorSpec, Resolution
from jdn_core.space.reading import BROKEN, read_detector, reason
from jdn_core.storage.schemas import require_schema

Format = Literal["onnx", "pt2", "torchscript", "openvino"]
Precision = Literal["fp32", "fp16", "int8"]
Runtime = Literal["torch", "onnxruntime", "openvino"]

SCHEMA = 1
KEY = "jdn"  # of the label in ONNX's metadata and OpenVINO's runtime information
MEMBER = "jdn.json"  # of the label in the archives of torch
ENDINGS: dict[Format, str] = {
    "onnx": ".onnx",
    "pt2": ".pt2",
    "torchscript": ".torchscript",
    "openvino": ".xml",
}
RUNTIMES: dict[Format, tuple[Runtime, ...]] = {  # the first one is the format's own
    "onnx": ("onnxruntime", "openvino"),
    "pt2": ("torch",),
    "torchscript": ("torch",),
    "openvino": ("openvino",),
}
_PREPROCESSING = {
    "images": "float32 [B, 3, H, W], RGB in 0..1; mean and std are inside the file",
    "sizes": "int64 [B, 2], height and width of each picture in its image",
    "resize": "at its own ratio into the resolution, bilinear with antialiasing",
    "pad": "to the right and below; its values do not matter",
    "boxes": "float32 [B, D, 4], x1 y1 x2 y2 in pixels of the image",
    "scores": "float32 [B, D], falling",
    "labels": "int64 [B, D], numbers of `classes`",
    "counts": "int64 [B], rows that are detections; those after them are zeros",
}


@dataclass(frozen=True)
class Label:
    """A file's contents in words.

    Attributes:
        spec: the detector; its ``resolution`` is the frame that was exported.
        format: of the file.
        precision: of the network; boxes and scores are float32 in every one.
        dynamic: whether any frame of multiples of 32 pixels is taken, or the resolution's alone.
    """

    spec: DetectorSpec
    format: Format
    precision: Precision = "fp32"
    dynamic: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Returns (height, width) in pixels of the input of a fixed frame, in multiples of 32."""
        width, height = (-(-side // SIZE_DIVISOR) * SIZE_DIVISOR for side in self.spec.resolution)
        return height, width

    def frame_of(self, width: int, height: int, frame: Resolution) -> Resolution:
        """Returns the frame in which a picture of this size is looked at.

        A frame turns with a portrait picture; the input of a fixed one does not, so a picture that lies the
        other way is made small enough to stand in it.
        """
        turned = (width < height) != (frame.width < frame.height)
        square = min(frame)
        return Resolution(square, square) if turned and not self.dynamic else frame

    def to_text(self) -> str:
        """Writes the label as JSON."""
        classes = {str(label): name for label, (_, name) in enumerate(self.spec.classes, start=1)}
        data = {
            "schema": SCHEMA,
            "format": self.format,
            "precision": self.precision,
            "dynamic": self.dynamic,
            "resolution": str(self.spec.resolution),
            "input": None if self.dynamic else list(self.shape),
            "classes": classes,
            "score_threshold": self.spec.region.score_threshold,
            "preprocessing": _PREPROCESSING,
            "detector": self.spec.to_json(),
        }
        return json.dumps(data, sort_keys=True)

    @classmethod
    def from_text(cls, text: str, path: Path) -> Label:
        """Reads what ``to_text`` wrote; ``path`` is for messages.

        Raises:
            CheckpointError: it is anything else.
            FormatError: a newer jdn wrote it.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            require_schema(data, SCHEMA, path)
            format, precision = chosen_format(data["format"]), chosen_precision(data["precision"])
            return cls(read_detector(data["detector"]), format, precision, bool(data["dynamic"]))
        except (*BROKEN, UsageError) as error:
            raise CheckpointError(f"{path}: its label cannot be read: {reason(error)}") from error


def chosen_format(name: str) -> Format:
    """Returns the format of this name; raises UsageError with the list of them."""
    if name not in get_args(Format):
        raise UsageError(f"--format must be one of {', '.join(get_args(Format))}, got {name!r}")
    return name  # type: ignore[return-value]  # it is one of them


def chosen_precision(name: str) -> Precision:
    """Returns the precision of this name; raises UsageError with the list of them."""
    if name not in get_args(Precision):
        raise UsageError(f"--precision must be one of {', '.join(get_args(Precision))}, got {name!r}")
    return name  # type: ignore[return-value]  # it is one of them


def chosen_runtime(name: str) -> Runtime:
    """Returns the runtime of this name; raises UsageError with the list of them."""
    if name not in get_args(Runtime):
        raise UsageError(f"--runtime must be one of {', '.join(get_args(Runtime))}, got {name!r}")
    return name  # type: ignore[return-value]  # it is one of them


def format_of(path: Path) -> Format:
    """Returns the format that a file's ending stands for; raises UsageError with the list of them."""
    for format, ending in ENDINGS.items():
        if path.suffix == ending:
            return format
    raise UsageError(f"{path}: an exported file ends in {', '.join(ENDINGS.values())}")
