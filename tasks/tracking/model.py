"""The code that MLflow runs of a registered detector: pictures in, COCO's results out.

MLflow copies this file into every registered model, beside ``jdn_core``, and runs it there; so it imports
nothing else of ours. Nothing is unpickled: the weights are safetensors, held against their hash.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from jdn_core.data import pictures
from jdn_core.data.coco.document import Category
from jdn_core.detector.folder import load_detector
from jdn_core.errors import DataError
from jdn_core.evaluation.average_precision import to_results
from jdn_core.evaluation.detection import detect_in
from jdn_core.space.architecture import Resolution

LEAST = 0.5  # as in `jdn predict`


class RegisteredDetector(PythonModel):
    """A detector for ``mlflow.pyfunc.load_model`` and ``mlflow models serve``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the detector; ``model_config`` may name another ``device`` or ``resolution``."""
        config = context.model_config
        device = config["device"]
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._detector = load_detector(Path(context.artifacts["detector"]).parent, device)
        self._resolution = Resolution.parse(config["resolution"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Detects objects in all pictures: COCO's results form, with the class's name as ``category``.

        Args:
            context: unused.
            model_input: column ``image``: the bytes of a picture's file, the same in base64, or its pixels,
                uint8 [H, W, 3], RGB.
            params: ``score``, below which boxes are left out.

        Returns:
            A dict for each box; ``image_id`` is the picture's row, counted from 0, and ``bbox`` is x, y,
            width, height in its pixels.
        """
        photos = [_pixels(value, f"image {row}") for row, value in enumerate(model_input["image"])]
        outputs = detect_in(self._detector, photos, self._resolution)
        classes = tuple(Category(id_, name) for id_, name in self._detector.spec.classes)
        names = {category.id: category.name for category in classes}
        least = (params or {}).get("score", LEAST)
        return [
            {**hit, "category": names[hit["category_id"]]}
            for hit in to_results(outputs, range(len(photos)), classes)
            if hit["score"] >= least
        ]


def _pixels(value: object, name: str) -> np.ndarray:
    """Decodes one cell of the column to uint8 [H, W, 3]; what cannot be read ends in HTTP's code 400."""
    try:
        if isinstance(value, str):
            value = base64.b64decode("".join(value.split()), validate=True)
        if isinstance(value, bytes | bytearray):
            return pictures.decode(bytes(value), name)
    except binascii.Error as error:
        raise MlflowException.invalid_parameter_value(f"{name} must be base64: {error}") from error
    except DataError as error:
        raise MlflowException.invalid_parameter_value(str(error)) from error
    pixels = np.asarray(value)
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size:
        return pixels
    got = f"{type(value).__name__} {pixels.dtype}{list(pixels.shape)}"
    raise MlflowException.invalid_parameter_value(
        f"{name} must be a picture's bytes, base64, or uint8 [H, W, 3], got {got}"
    )


mlflow.models.set_model(RegisteredDetector())
