"""What a registered detector takes and refuses; ``test_registry`` runs it where jdn is not."""

from __future__ import annotations

import base64
import importlib
import io
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from jdn_core.detector.folder import save_detector
from tests.jdn_core.tiny import grown, tiny_spec

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A registered detector as MLflow loads it."""
    folder = tmp_path_factory.mktemp("model")
    save_detector(grown(tiny_spec()), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of type hints of its own
        model = importlib.import_module("tasks.tracking.model")
    files = {"detector": str(folder / "detector.json"), "weights": str(folder / "weights.safetensors")}
    config = {"device": "auto", "resolution": "64x64"}
    loaded = model.RegisteredDetector()
    loaded.load_context(model.PythonModelContext(files, config))
    return loaded


def boxes(detector: Any, *cells: object, score: float = 0.0) -> list[dict[str, Any]]:
    column = pd.Series(list(cells), dtype=object)
    found: list[dict[str, Any]] = detector.predict(None, pd.DataFrame({"image": column}), {"score": score})
    return found


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


def test_bytes_base64_and_pixels_are_the_same_picture(detector: Any) -> None:
    found = boxes(detector, png(), base64.encodebytes(png()).decode(), PIXELS)
    first, second, third = ([hit for hit in found if hit["image_id"] == row] for row in range(3))
    assert len(first) > 0
    assert first == [{**hit, "image_id": 0} for hit in second] == [{**hit, "image_id": 0} for hit in third]
    assert first[0].keys() == {"image_id", "category_id", "category", "bbox", "score"}


def test_doubtful_boxes_are_left_out_and_no_picture_has_none(detector: Any) -> None:
    assert boxes(detector, PIXELS, score=1.1) == []
    assert boxes(detector) == []


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (b"no picture", "image 1: is not an image of a known format"),
        ("no base64!", "image 1 must be base64"),
        (PIXELS / 255.0, r"got ndarray float64\[48, 64, 3\]"),
        (PIXELS[..., 0], r"got ndarray uint8\[48, 64\]"),
        (PIXELS[:0], r"got ndarray uint8\[0, 64, 3\]"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_picture_is_named_by_its_row(detector: Any, cell: object, what: str) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=what) as caught:
        boxes(detector, PIXELS, cell)
    assert caught.value.get_http_status_code() == 400
