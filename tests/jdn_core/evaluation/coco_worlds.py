"""Generated ground truth and detections in COCO's forms, with crowd regions and tied scores."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Rows = list[dict[str, Any]]


def world(
    images: int, classes: int, *, objects: float, detections: int, seed: int, digits: int = 15
) -> tuple[dict[str, Any], Rows]:
    """A dataset with so many objects an image on average, and detections of which some hit.

    Args:
        images, classes: how many.
        objects: mean of an image.
        detections: of each image, at the least.
        seed: of the draws.
        digits: that scores are rounded to; few make ties.
    """
    draws = np.random.default_rng(seed)
    annotations: Rows = []
    results: Rows = []

    def detect(image: int, category: int, box: Any, score: float) -> None:
        row = {"image_id": image, "category_id": category, "bbox": [float(x) for x in box]}
        results.append({**row, "score": round(score, digits)})

    for image in range(1, images + 1):
        count = int(draws.poisson(objects))
        for _ in range(count):
            box = np.r_[draws.uniform(0, 400, 2), draws.uniform(8, 200, 2)]
            category, crowd = int(draws.integers(1, classes + 1)), int(draws.random() < 0.05)
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": category, "iscrowd": crowd}
            annotations.append({**row, "bbox": box.tolist(), "area": float(box[2] * box[3])})
            if draws.random() < 0.8:
                near = np.maximum(box + draws.normal(0, 6, 4), [-50, -50, 2, 2])
                detect(image, category, near, float(draws.beta(4, 2)))
        for _ in range(max(0, detections - count)):
            anywhere = np.r_[draws.uniform(0, 400, 2), draws.uniform(8, 200, 2)]
            detect(image, int(draws.integers(1, classes + 1)), anywhere, float(draws.beta(1, 6)))
    dataset = {
        "images": [{"id": number + 1, "width": 640, "height": 640} for number in range(images)],
        "categories": [{"id": number + 1, "name": str(number)} for number in range(classes)],
        "annotations": annotations,
    }
    return dataset, results


def drawn(dataset: dict[str, Any], results: Rows, weights: Any) -> tuple[dict[str, Any], Rows]:
    """The dataset in which each image stands as often as it was drawn, under ids of their own."""
    images: Rows = []
    annotations: Rows = []
    detections: Rows = []
    for image, times in zip(dataset["images"], weights, strict=True):
        for _ in range(times):
            number = len(images) + 1
            images.append({**image, "id": number})
            for row in dataset["annotations"]:
                if row["image_id"] == image["id"]:
                    annotations.append({**row, "id": len(annotations) + 1, "image_id": number})
            detections += [{**row, "image_id": number} for row in results if row["image_id"] == image["id"]]
    return {**dataset, "images": images, "annotations": annotations}, detections


def evaluated(dataset: dict[str, Any], results: Rows) -> COCOeval:
    """pycocotools' evaluation with its default parameters, matched and not yet accumulated."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        found.dataset = {key: dataset[key] for key in ("images", "categories")}
        found.dataset["annotations"] = [
            {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
            for number, row in enumerate(results, start=1)
        ]
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
    return evaluation


def reference(evaluation: COCOeval) -> float:
    """AP as pycocotools has it."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
