"""Pictures of detections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdn_core.data import shapes
from jdn_core.data.coco.dataset import CocoDataset, load
from jdn_core.data.layouts import find_split
from jdn_core.detector.build import build
from jdn_core.errors import StorageError
from jdn_core.reports.examples import Panel, draw, save, some_of, stack, truth, write_detections
from tests.made_up_search import base_spec

PHOTO = np.full((60, 80, 3), 200, np.uint8)
BOX = np.array([[10, 10, 50, 40]], np.float32)
ONE, NONE = np.array([1]), Panel("base", np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def test_panels_stand_side_by_side_with_their_boxes() -> None:
    sheet = np.asarray(draw(PHOTO, [Panel("truth", BOX, ONE), NONE], names=["cell"], width=160))
    assert sheet.shape == (120 + 22, 2 * 160 + 6, 3)
    left, right = sheet[22:, :160], sheet[22:, 166:]
    assert tuple(left[20, 60]) == (0xE6, 0x9F, 0x00)  # the upper edge of the box, scaled by two
    assert np.abs(right.astype(int) - 200).max() <= 1


def test_scores_are_written_and_photos_of_any_shape_work() -> None:
    panel = Panel("student", BOX, ONE, np.array([0.9], np.float32))
    assert draw(PHOTO[:1], [panel], names=["cell"], width=100).size == (100, 1 + 22)


def test_only_sure_boxes_are_kept_surest_first() -> None:
    scores = np.array([0.2, 0.7, 0.9], np.float32)
    panel = Panel("student", np.repeat(BOX, 3, axis=0), np.array([1, 2, 3]), scores).confident(least=0.5)
    assert panel.labels.tolist() == [3, 2]
    assert len(NONE.confident().boxes) == 0


def test_pictures_stack_on_white() -> None:
    rows = [Image.new("RGB", (10, 4), "red"), Image.new("RGB", (20, 4), "red")]
    assert stack(rows).size == (20, 14)
    assert stack(rows).getpixel((15, 1)) == (255, 255, 255)
    assert stack([]).size == (1, 1)


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    root = tmp_path_factory.mktemp("shapes")
    shapes.generate(root, images=20, size=96, seed=0)
    return load(*find_split(root, "val"))


def test_photos_are_spread_over_the_dataset(val: CocoDataset) -> None:
    assert [image.id for image in some_of(val, 2).images] == [val.images[0].id, val.images[2].id]
    assert len(some_of(val, 99).images) == len(val.images)
    assert some_of(val, 0).images == ()
    assert truth(val.images[0]).boxes is val.images[0].boxes


def test_a_pairs_detections_are_one_picture_with_a_row_per_photo(val: CocoDataset, tmp_path: Path) -> None:
    classes = tuple((category.id, category.name) for category in val.categories)
    write_detections(build(replace(base_spec(), classes=classes)), val, 2, tmp_path / "detections.png")
    with Image.open(tmp_path / "detections.png") as picture:
        assert picture.size == (2 * 320 + 6, 2 * (320 + 22) + 6)


def test_a_picture_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/a\.png: cannot be written: No such file"):
        save(stack([]), tmp_path / "nowhere" / "a.png")
