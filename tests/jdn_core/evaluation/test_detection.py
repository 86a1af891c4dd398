"""Detections in pictures that are in memory: those of the same pictures in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jdn_core.data.coco.dataset import CocoDataset, ImageRecord
from jdn_core.data.loading import BatchLoader
from jdn_core.evaluation.detection import PREDICTION_BATCH, detect, detect_in
from jdn_core.space.architecture import Resolution
from jdn_core.training.resolutions import evaluation_plan
from tests.jdn_core.tiny import grown, tiny_spec

FRAME = Resolution(64, 48)


def _photos(count: int) -> list[np.ndarray]:
    """Landscape and portrait by turns, of many sizes."""
    draw = np.random.default_rng(0)
    sizes = [(40 + 7 * n, 90 - 5 * n) for n in range(count)]
    return [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_pictures_in_memory_and_in_files_give_the_same_boxes_bit_for_bit(tmp_path: Path) -> None:
    detector, photos = grown(tiny_spec()).eval(), _photos(PREDICTION_BATCH + 2)
    records = []
    for number, pixels in enumerate(photos):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        height, width = pixels.shape[:2]
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        records.append(ImageRecord(number, path, width, height, *nothing))
    plan = evaluation_plan(len(photos), batch=PREDICTION_BATCH, resolution=FRAME)
    with BatchLoader(CocoDataset(tuple(records), (), Path(), "")) as loader:
        wanted = [output for batch in loader.batches(plan) for output in detect(detector, batch)]
    found = detect_in(detector, photos, FRAME)
    assert sum(len(output["boxes"]) for output in found) > 0
    for got, want in zip(found, wanted, strict=True):
        assert all(torch.equal(got[key], want[key]) for key in ("boxes", "labels", "scores"))


def test_no_pictures_have_no_detections() -> None:
    assert detect_in(grown(tiny_spec()).eval(), [], FRAME) == []
