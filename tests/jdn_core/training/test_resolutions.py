"""Plans: what an epoch shows."""

import pytest

from jdn_core.space.architecture import Resolution
from jdn_core.training.randomness import Stream
from jdn_core.training.resolutions import evaluation_plan, training_plan

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
