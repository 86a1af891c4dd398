from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jdn_core.data.coco.dataset import CocoDataset, ImageRecord
from jdn_core.data.coco.document import Category
from jdn_core.errors import DataError
from jdn_core.suggestion.survey import quantiles, survey


def dataset(*photos: tuple[int, int, list[list[float]]]) -> CocoDataset:
    """Photos of (width, height, boxes); labels go 1, 2, 1, 2, ... in each."""
    images = tuple(
        ImageRecord(
            number,
            Path(f"{number}.jpg"),
            width,
            height,
            np.array(boxes, np.float32).reshape(-1, 4),
            np.arange(len(boxes)) % 2 + 1,
        )
        for number, (width, height, boxes) in enumerate(photos)
    )
    return CocoDataset(images, (Category(3, "cup"), Category(7, "jug")), Path("train.json"), "")


def test_photos_and_boxes_are_counted_and_measured() -> None:
    train = dataset((100, 50, [[0, 0, 10, 40]]), (60, 80, []), (100, 50, [[0, 0, 4, 4], [9, 9, 13, 18]]))
    found = survey(train, dataset((9, 9, [])))
    assert (found.train, found.val, found.boxes, found.crowded) == (3, 1, 3, 2)
    assert (found.classes, found.per_class) == (("cup", "jug"), (2, 1))
    assert (found.photo_size, found.is_landscape) == ((100, 50), True)
    np.testing.assert_array_equal(found.photo, [0, 2, 2])
    np.testing.assert_allclose(found.box_sides, [20, 4, 6])


def test_photos_without_a_box_are_refused() -> None:
    with pytest.raises(DataError, match=r"train.json: annotations: must hold one usable box at least"):
        survey(dataset((9, 9, [])), dataset((9, 9, [])))


def test_quantiles_lie_between_values() -> None:
    assert quantiles(np.arange(11.0)) == (1.0, 5.0, 9.0)
