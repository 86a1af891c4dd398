"""Pictures and boxes into the network's frame; no randomness here, a flip is asked for by the plan."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from jdn_core.space.architecture import Resolution


def fit_size(width: int, height: int, resolution: Resolution) -> tuple[int, int]:
    """Returns (width, height) of an image scaled, up or down, into a resolution at its own ratio.

    The longer side is at most the resolution's longer side and the shorter at most its shorter, so that
    portrait images use the frame turned by 90 degrees (MMDetection's ``img_scale`` with ``keep_ratio``).
    """
    # As mmcv.rescale_size, which rounds by adding a half.
    scale = min(max(resolution) / max(width, height), min(resolution) / min(width, height))
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def resize(pixels: np.ndarray, resolution: Resolution) -> Tensor:
    """Resizes an image: the expensive half of ``prepare``, whose result a cache may keep.

    Args:
        pixels: uint8 [H, W, 3].
        resolution: the frame to fit.

    Returns:
        uint8 [3, h, w], antialiased bilinear.
    """
    width, height = fit_size(pixels.shape[1], pixels.shape[0], resolution)
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    resized: Tensor = F.resize(image, [height, width], antialias=True)
    return resized


def finish(
    resized: Tensor, boxes: np.ndarray, *, original: tuple[int, int], flip: bool
) -> tuple[Tensor, Tensor]:
    """Converts to float, scales the boxes and mirrors both: the cheap half of ``prepare``.

    Args:
        resized: uint8 [3, h, w].
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels of the original image; N may be 0.
        original: (height, width) of the original image.
        flip: mirror left to right.

    Returns:
        Image, float32 [3, h, w] in 0..1, and boxes, float32 [N, 4] in its pixels.
    """
    targets = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=original)
    targets = F.resize(targets, list(resized.shape[-2:]))
    image = F.to_dtype(resized, torch.float32, scale=True)
    if flip:
        image, targets = F.horizontal_flip(image), F.horizontal_flip(targets)
    return image, targets.as_subclass(Tensor)


def prepare(
    pixels: np.ndarray, boxes: np.ndarray, *, resolution: Resolution, flip: bool
) -> tuple[Tensor, Tensor]:
    """Returns an image and its boxes as the network sees them.

    Args:
        pixels: uint8 [H, W, 3].
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels; N may be 0.
        resolution: the frame to fit, see ``fit_size``.
        flip: mirror left to right.

    Returns:
        Image, float32 [3, h, w] in 0..1, and boxes, float32 [N, 4] in its pixels.
    """
    height, width = pixels.shape[:2]
    return finish(resize(pixels, resolution), boxes, original=(height, width), flip=flip)
