"""Plans: what an epoch shows."""

from pathlib import Path

import numpy as np
import pytest

from jdn_core.data.coco.dataset import ImageRecord
from jdn_core.data.loading import Sample
from jdn_core.space.architecture import Resolution
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import deal, evaluation_plan, framed, training_plan

FRAMES = (Resolution(64, 48), Resolution(96, 64))


def plan(epoch: int = 0, images: int = 41):  # type: ignore[no-untyped-def]
    stream = Stream((0, "epoch", epoch))
    return training_plan(images, batch=4, resolutions=FRAMES, flip=0.5, stream=stream)


def test_an_epoch_shows_every_image_once_in_whole_batches() -> None:
    shown = [sample.image for batch in plan() for sample in batch]
    assert len(plan()) == 10
    assert len(shown) == len(set(shown)) == 40


def test_a_batch_has_one_resolution_and_all_of_them_occur() -> None:
    frames = [{sample.resolution for sample in batch} for batch in plan()]
    assert all(len(frame) == 1 for frame in frames)
    assert set.union(*frames) == set(FRAMES)


def test_equal_streams_give_equal_plans_and_epochs_differ() -> None:
    assert plan(3) == plan(3)
    assert plan(3) != plan(4)
    assert {sample.flip for batch in plan() for sample in batch} == {True, False}


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch must be <= the number of training images \(3\), got 4"):
        plan(images=3)


def test_evaluation_shows_all_images_in_order_and_unmirrored() -> None:
    batches = evaluation_plan(5, batch=2, resolution=FRAMES[0])
    assert [[sample.image for sample in batch] for batch in batches] == [[0, 1], [2, 3], [4]]
    assert not any(sample.flip for batch in batches for sample in batch)


def test_an_image_may_have_a_frame_of_its_own() -> None:
    none = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    images = [ImageRecord(id_, Path(), 30 + id_, 31, *none) for id_ in range(3)]
    asked = evaluation_plan(3, batch=2, resolution=FRAMES[0])
    plan = framed(asked, images, lambda width, height, frame: FRAMES[1] if width < height else frame)
    assert [[sample.resolution for sample in batch] for batch in plan] == [
        [FRAMES[1], FRAMES[0]],
        [FRAMES[0]],
    ]
    assert [[sample.image for sample in batch] for batch in plan] == [[0, 1], [2]]


def hands(images: int, **limits: int) -> list[list[int]]:
    batch = [Sample(image, FRAMES[0]) for image in range(images)]
    return [[sample.image for sample in part.samples] for part in deal(batch, **limits)]


def test_a_batch_that_a_device_takes_at_once_is_one_part() -> None:
    assert hands(4) == hands(4, most=4) == hands(4, most=9) == [[0, 1, 2, 3]]


def test_a_batch_is_dealt_out_in_parts_that_a_device_takes() -> None:
    assert hands(5, most=2) == [[0, 3], [1, 4], [2]]
    assert hands(8, most=3, devices=2) == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_parts_do_not_depend_on_who_takes_them() -> None:
    assert hands(8, devices=2) == hands(8, most=4) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_shares_of_the_parts_are_those_of_their_images() -> None:
    parts = deal([Sample(image, FRAMES[0]) for image in range(5)], most=2)
    assert [part.share for part in parts] == [0.4, 0.4, 0.2]
    assert [part.number for part in parts] == [0, 1, 2]
