"""Datasets made by hand and by ``shapes``, so that most rules are tested without the real photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jdn_core.data.coco.dataset import CocoDataset, load
from jdn_core.data.layouts import find_split
from jdn_core.data.shapes import generate

Write = Callable[[dict[str, Any]], Path]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of 15 images of 64 px."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    generate(folder, images=15, size=64, seed=1)
    return folder


@pytest.fixture(scope="session")
def train(shapes: Path) -> CocoDataset:
    return load(*find_split(shapes, "train"))


@pytest.fixture
def content() -> dict[str, Any]:
    """A sound annotation file: one image of 40x30, three categories with gaps in their ids, two boxes."""
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [5.5, 5, 20, 20], "area": 400.0, "iscrowd": 0},
        ],
        "categories": [{"id": 90, "name": "cup"}, {"id": 3, "name": "dog"}, {"id": 14, "name": "car"}],
    }


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the image that ``content`` names."""
    folder = tmp_path / "train"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder


@pytest.fixture
def write(tmp_path: Path, images: Path) -> Write:
    """Writes an annotation file beside the images and gives its path."""

    def to_file(content: dict[str, Any]) -> Path:
        file = tmp_path / "annotations" / "train.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
        return file

    return to_file
