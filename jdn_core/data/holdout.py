"""Photos that a search never sees: a share of a split, chosen by the ids of its images alone (ours)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import NamedTuple

from jdn_core.data.coco.dataset import CocoDataset
from jdn_core.errors import DataError, Problem


class Divided(NamedTuple):
    """A split in two: what the search measures on, and what it never sees."""

    seen: CocoDataset
    held_out: CocoDataset


def divided(dataset: CocoDataset, share: float) -> Divided:
    """Divides a split; both parts keep its order, and its fingerprint is that of the whole.

    Args:
        dataset: one image at least.
        share: expected share of the images that are held out, in (0, 1).

    Raises:
        DataError: a part has no image, or no box to measure on.
    """
    parts = Divided(
        replace(dataset, images=tuple(each for each in dataset.images if not is_held_out(each.id, share))),
        replace(dataset, images=tuple(each for each in dataset.images if is_held_out(each.id, share))),
    )
    for name, part in zip(("seen by the search", "held out"), parts, strict=True):
        if not any(len(image.labels) for image in part.images):
            what = f"data.holdout {share} must leave an image with a box on both sides"
            value = f"{len(part.images)} of {len(dataset.images)} images {name}"
            remedy = "take another share, or more validation images"
            raise DataError.of([Problem(dataset.annotation_file.name, "images", what, value, remedy)])
    return parts


def is_held_out(image_id: int, share: float) -> bool:
    """Decides by a hash of the id, so that photos added later leave the others on their side."""
    digest = hashlib.sha256(f"held out {image_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64
