"""COCO's twelve numbers, by pycocotools, unrounded and without its printing."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from jdn_core.data.coco.document import Category

# The order of COCOeval.stats.
_STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class CocoNumbers:
    """Average precision and recall as fractions, never rounded; -1 where there is no ground truth.

    Attributes:
        AP: over IoU 0.50:0.95 and all classes; AP50 and AP75 at one IoU; APs, APm, APl by the area of the
            objects (below 32x32, below 96x96, above).
        AR1: recall with 1 (10, 100) detections an image; ARs, ARm, ARl by area.
        per_class: AP of every class by name; where two classes share a name, by ``name (id)``.
    """

    AP: float
    AP50: float
    AP75: float
    APs: float
    APm: float
    APl: float
    AR1: float
    AR10: float
    AR100: float
    ARs: float
    ARm: float
    ARl: float
    per_class: Mapping[str, float]

    @property
    def twelve(self) -> dict[str, float]:
        """Returns the dataset's numbers by name, without the classes."""
        return {name: getattr(self, name) for name in _STATS}


def coco_numbers(
    ground_truth: COCO, detections: Sequence[Mapping[str, Any]], *, image_ids: Sequence[int] | None = None
) -> CocoNumbers:
    """Evaluates detections against ground truth; arguments and errors as ``matched`` has them."""
    return numbers_of(matched(ground_truth, detections, image_ids=image_ids))


def matched(
    ground_truth: COCO, detections: Sequence[Mapping[str, Any]], *, image_ids: Sequence[int] | None = None
) -> COCOeval:
    """Matches detections to ground truth; crowd regions are ignored as pycocotools does.

    Args:
        ground_truth: index of ``jdn_core.data.coco.ground_truth``.
        detections: COCO results: ``image_id``, ``category_id``, ``bbox`` [x, y, width, height] in pixels,
            ``score``. None at all is a detector that finds nothing: zeros where there is ground truth.
        image_ids: the images to evaluate on; all by default.

    Raises:
        ValueError: a detection names an image that the ground truth does not have.
    """
    unknown = {detection["image_id"] for detection in detections} - set(ground_truth.imgs)
    if unknown:
        raise ValueError(f"detections must be of images of the ground truth, got image_id {min(unknown)}")
    with contextlib.redirect_stdout(io.StringIO()):  # standard output belongs to the command line
        evaluation = COCOeval(ground_truth, _index(ground_truth, detections), iouType="bbox")
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
    return evaluation


def numbers_of(evaluation: COCOeval) -> CocoNumbers:
    """Computes the numbers of an evaluation that ``matched`` returned."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    numbers = dict(zip(_STATS, map(float, evaluation.stats), strict=True))
    return CocoNumbers(**numbers, per_class=_per_class(evaluation, evaluation.cocoGt))


def to_results(
    outputs: Sequence[Mapping[str, Tensor]], ids: Sequence[int], categories: Sequence[Category]
) -> list[dict[str, Any]]:
    """Puts detections in COCO's results form, with the dataset's own category ids.

    Args:
        outputs: per image ``boxes`` [N, 4], x1, y1, x2, y2 in pixels of the original image, ``scores`` [N],
            and ``labels`` [N] in 1..K; N may be 0.
        ids: image ids, in the order of the outputs.
        categories: of the dataset, by rising id.
    """
    results = []
    for image_id, output in zip(ids, outputs, strict=True):
        rows = zip(
            output["boxes"].tolist(), output["scores"].tolist(), output["labels"].tolist(), strict=True
        )
        for (x1, y1, x2, y2), score, label in rows:
            category = categories[label - 1].id
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": image_id, "category_id": category, "bbox": box, "score": score})
    return results


def _index(ground_truth: COCO, detections: Sequence[Mapping[str, Any]]) -> COCO:
    """Builds the index of ``COCO.loadRes``, also of no detections; the caller's are left as they are."""
    index = COCO()
    index.dataset = {key: ground_truth.dataset[key] for key in ("images", "categories")}
    index.dataset["annotations"] = [
        {**detection, "id": number, "area": detection["bbox"][2] * detection["bbox"][3], "iscrowd": 0}
        for number, detection in enumerate(detections, start=1)
    ]
    index.createIndex()
    return index


def _per_class(evaluation: COCOeval, ground_truth: COCO) -> dict[str, float]:
    # [IoU thresholds, recall thresholds, classes, areas (the first is all), detections an image (the last is
    # 100)]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    names = [ground_truth.cats[category]["name"] for category in evaluation.params.catIds]
    shared = {name for name, count in Counter(names).items() if count > 1}
    numbers = {}
    for rank, (category, name) in enumerate(zip(evaluation.params.catIds, names, strict=True)):
        values = precision[:, :, rank]  # -1 where the class has no object, as COCOeval marks it
        label = f"{name} ({category})" if name in shared else name
        numbers[label] = float(np.mean(values[values > -1])) if np.any(values > -1) else -1.0
    return numbers
