"""Pictures and boxes into the network's frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.data.transforms import fit_size, prepare
from jdn_core.space.architecture import Resolution

WIDE = Resolution(1333, 800)
SIDES = st.integers(1, 3000)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((640, 480), (1067, 800)),
        ((480, 640), (800, 1067)),
        ((640, 427), (1199, 800)),
        ((500, 100), (1333, 267)),
        ((640, 640), (800, 800)),
        ((5000, 1), (1333, 1)),
    ],
)
def test_sizes_are_those_of_mmdetection(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fit_size(*size, WIDE) == fitted


@given(SIDES, SIDES, st.integers(1, 1500), st.integers(1, 1500))
def test_an_image_fits_its_frame_or_the_turned_one(width: int, height: int, w: int, h: int) -> None:
    fitted = fit_size(width, height, Resolution(w, h))
    assert max(fitted) <= max(w, h)
    assert min(fitted) <= min(w, h)
    assert fit_size(height, width, Resolution(h, w)) == fitted[::-1]


def test_boxes_follow_the_image() -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    image[6:12, 8:20] = 255
    boxes = np.array([[8, 6, 20, 12]], np.float32)
    pixels, scaled = prepare(image, boxes, resolution=Resolution(80, 60), flip=False)
    assert scaled.tolist() == [[16, 12, 40, 24]]
    assert (pixels.shape, pixels.dtype, pixels.max()) == ((3, 60, 80), torch.float32, 1)
    assert pixels[:, 14:22, 18:38].min() > 0.99


def test_a_flip_mirrors_image_and_boxes_and_undoes_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    boxes = np.array([[1, 2, 11, 10], [0, 0, 40, 30]], np.float32)
    plain, straight = prepare(image, boxes, resolution=Resolution(40, 30), flip=False)
    mirrored, turned = prepare(image, boxes, resolution=Resolution(40, 30), flip=True)
    assert torch.equal(mirrored.flip(2), plain)
    assert turned.tolist() == [[29, 2, 39, 10], [0, 0, 40, 30]]
    assert straight.tolist() == boxes.tolist()


@pytest.mark.parametrize("flip", [False, True])
def test_no_boxes_stay_no_boxes(flip: bool) -> None:
    image = np.full((30, 40, 3), 51, np.uint8)
    pixels, boxes = prepare(image, np.zeros((0, 4), np.float32), resolution=Resolution(20, 15), flip=flip)
    assert (boxes.shape, boxes.dtype, type(boxes)) == ((0, 4), torch.float32, torch.Tensor)
    torch.testing.assert_close(pixels, torch.full((3, 15, 20), 0.2))


def test_a_fine_grid_shrinks_to_gray_because_of_antialiasing() -> None:
    image = np.indices((64, 64)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 255
    pixels, _ = prepare(
        image.astype(np.uint8), np.zeros((0, 4), np.float32), resolution=Resolution(16, 16), flip=False
    )
    assert (pixels - 0.5).abs().max() < 0.02
