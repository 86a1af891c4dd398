"""Pictures of detections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdn_core.errors import StorageError
from jdn_core.reports.examples import Panel, draw, save, stack

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


def test_a_picture_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/a\.png: cannot be written: No such file"):
        save(stack([]), tmp_path / "nowhere" / "a.png")
