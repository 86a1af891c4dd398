"""Static quantisation of an ONNX file: int8 weights and activations in the network, float32 around it.

onnxruntime's, which OpenVINO reads as well: scales of activations are learnt from photos, weights have a
scale for each channel, and the layers that give scores and box offsets stay float32.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jdn_core.data.coco.dataset import ImageRecord, read_image
from jdn_core.errors import InputMissing
from jdn_core.export.extras import extra
from jdn_core.export.label import KEY
from jdn_core.export.parity import batches
from jdn_core.export.runtimes import open_file
from jdn_core.processes import stopping
from jdn_core.processes.progress import report

PHOTOS = 128
_LAYERS = ("Conv", "Gemm", "MatMul")
# Parts of the names of weights; what comes out of these is a score or an offset, and costs little.
_LAST = ("cls_logits", "bbox_pred", "cls_score")


def quantise(source: Path, target: Path, records: Sequence[ImageRecord], *, photos: int = PHOTOS) -> None:
    """Writes a file of int8 beside one of fp32.

    Args:
        source: what ``writing.write`` made in the format onnx, precision fp32.
        target: the new file.
        records: of the training split; ``photos`` of them, evenly spread, are looked at one by one.
        photos: at the most.

    Raises:
        InputMissing: there are no photos.
        UsageError: onnx or onnxruntime is not installed.
    """
    if not records or photos < 1:
        raise InputMissing("int8 needs photos of the training split to learn its scales from; there are none")
    onnx, quantization = extra("onnx"), extra("onnxruntime.quantization")
    places = np.linspace(0, len(records) - 1, min(photos, len(records))).round().astype(int)
    model = onnx.load(source)
    kept = [
        node.name for node in model.graph.node if any(part in each for part in _LAST for each in node.input)
    ]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # its advice about a preprocessing that has been done
    try:
        quantization.quantize_static(
            source,
            target,
            _Photos(_images(source, [records[place] for place in places])),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=list(_LAYERS),
            nodes_to_exclude=kept,
        )
    finally:
        root.setLevel(level)
    label = replace(open_file(source).label, precision="int8")
    quantised = onnx.load(target)
    onnx.helper.set_model_props(quantised, {KEY: label.to_text()})
    target.write_bytes(quantised.SerializeToString())


class _Photos:
    """What onnxruntime asks for calibration data: ``get_next`` until there is none."""

    def __init__(self, images: Iterator[dict[str, np.ndarray]]) -> None:
        self._images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._images, None)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self._images


def _images(source: Path, records: Sequence[ImageRecord]) -> Iterator[dict[str, Any]]:
    file = open_file(source)
    for number, record in enumerate(records, start=1):
        stopping.check()
        for images, sizes in batches(file, [read_image(record)]):
            yield {"images": images.numpy(), "sizes": np.array(sizes, np.int64)}
        report("calibrate", number, len(records))
