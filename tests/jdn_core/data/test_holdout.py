"""Which photos are held out: by their ids alone, whatever else is in the split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.data.holdout import divided, is_held_out
from jdn_core.errors import DataError


def ids(dataset: CocoDataset) -> set[int]:
    return {image.id for image in dataset.images}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_the_parts_are_disjoint_whole_and_in_order(train: CocoDataset, share: float) -> None:
    parts = divided(train, share)
    assert not ids(parts.seen) & ids(parts.held_out)
    assert ids(parts.seen) | ids(parts.held_out) == ids(train)
    assert [image for image in train.images if image.id in ids(parts.seen)] == [*parts.seen.images]
    assert parts.seen.fingerprint == parts.held_out.fingerprint == train.fingerprint


def test_a_photo_stays_on_its_side_when_others_come_or_go(train: CocoDataset) -> None:
    fewer = replace(train, images=train.images[:7])
    assert ids(divided(fewer, 0.5).held_out) == ids(divided(train, 0.5).held_out) & ids(fewer)


def test_a_larger_share_holds_out_the_same_photos_and_more() -> None:
    few, many = ({i for i in range(1000) if is_held_out(i, share)} for share in (0.2, 0.4))
    assert few < many
    assert (len(few), len(many)) == (pytest.approx(200, abs=40), pytest.approx(400, abs=50))


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_a_share_that_leaves_nothing_on_one_side_is_refused(train: CocoDataset, share: float) -> None:
    with pytest.raises(DataError, match=r"must leave an image with a box on both sides, got 0 of 12 images"):
        divided(train, share)


def test_photos_without_a_box_are_nothing_to_measure_on(train: CocoDataset) -> None:
    nothing = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}
    bare = [replace(each, **nothing) if is_held_out(each.id, 0.5) else each for each in train.images]
    with pytest.raises(DataError, match="images held out"):
        divided(replace(train, images=tuple(bare)), 0.5)
