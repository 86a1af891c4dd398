"""The twelve numbers: pycocotools' own, unrounded, quiet, and there for empty input too."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jdn_core.data.coco.dataset import ground_truth, load
from jdn_core.data.coco.document import Category
from jdn_core.data.layouts import find_split
from jdn_core.data.shapes import generate
from jdn_core.evaluation.average_precision import coco_numbers, to_results

CATEGORIES = (Category(3, "dog"), Category(14, "cup"), Category(90, "cup"))


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("truth") / "shapes"
    generate(folder, images=20, size=128, seed=0)
    return ground_truth(load(*find_split(folder, "train")))


def as_detections(truth: Any, score: float = 0.9) -> list[dict[str, Any]]:
    """Ground truth given back, without crowd."""
    return [
        {key: row[key] for key in ("image_id", "category_id", "bbox")} | {"score": score}
        for row in truth.anns.values()
        if not row["iscrowd"]
    ]


@pytest.mark.parametrize("name", ["bccd", "coco_mini"])
def test_the_reference_numbers_are_met(jdn_data: Path, name: str) -> None:
    folder = jdn_data / name
    truth = ground_truth(load(*find_split(folder, "val")))
    numbers = coco_numbers(truth, json.loads((folder / "reference" / "val_fake_dets.json").read_text()))
    wanted = json.loads((folder / "reference" / "val_fake_scores.json").read_text())
    assert numbers.twelve == pytest.approx(wanted["fake"], abs=1e-6)
    per_class = {label: -1.0 if ap is None else ap for label, ap in wanted["fake_AP_per_class"].items()}
    assert dict(numbers.per_class) == pytest.approx(per_class, abs=1e-6)


@pytest.mark.parametrize("name", ["bccd", "coco_mini"])
def test_real_ground_truth_given_back_scores_one(jdn_data: Path, name: str) -> None:
    """Crowd regions among it are ignored, so that nothing is missed for want of them."""
    truth = ground_truth(load(*find_split(jdn_data / name, "val")))
    numbers = coco_numbers(truth, as_detections(truth))
    wanted = json.loads((jdn_data / name / "reference" / "val_fake_scores.json").read_text())
    assert pytest.approx(1.0, abs=1e-12) == numbers.AP
    assert numbers.twelve == pytest.approx(wanted["groundtruth_as_detections"], abs=1e-6)


def test_nothing_is_printed_and_nothing_is_changed(truth: Any, capsys: pytest.CaptureFixture[str]) -> None:
    detections = as_detections(truth)
    before = copy.deepcopy(detections)
    assert pytest.approx(1.0) == coco_numbers(truth, detections).AP
    assert detections == before
    assert capsys.readouterr().out == ""


def test_numbers_are_not_rounded(truth: Any) -> None:
    detections = as_detections(truth)
    numbers = coco_numbers(truth, detections[: len(detections) // 3])
    assert 0 < numbers.AP < 1
    assert round(numbers.AP, 6) != numbers.AP


def test_a_detector_that_finds_nothing_has_zeros_where_there_is_something_to_find(truth: Any) -> None:
    numbers = coco_numbers(truth, [])
    assert (numbers.AP, numbers.AP50, numbers.APs, numbers.AR100) == (0, 0, 0, 0)
    assert numbers.APl in (0, -1)
    assert set(numbers.per_class.values()) == {0}


def test_without_ground_truth_all_numbers_are_minus_one(truth: Any) -> None:
    for empty in (
        coco_numbers(truth, [], image_ids=[]),
        coco_numbers(truth, as_detections(truth), image_ids=[]),
    ):
        assert {*empty.twelve.values(), *empty.per_class.values()} == {-1}


def test_only_the_named_images_count(truth: Any) -> None:
    first, *others = truth.imgs
    detections = [row for row in as_detections(truth) if row["image_id"] == first]
    assert coco_numbers(truth, detections, image_ids=[first]).AR100 == 1
    assert coco_numbers(truth, detections, image_ids=others).AP == 0


def test_detections_of_an_unknown_image_are_refused(truth: Any) -> None:
    row = as_detections(truth)[0] | {"image_id": 10**6}
    with pytest.raises(ValueError, match="got image_id 1000000"):
        coco_numbers(truth, [row])


def test_classes_that_share_a_name_are_told_apart(truth: Any) -> None:
    shared = copy.deepcopy(truth)
    for category in (1, 2):
        shared.cats[category]["name"] = "round"
    names = [*coco_numbers(shared, []).per_class]
    assert names == ["round (1)", "round (2)", "square", "star", "ring", "cross"]


def test_results_carry_the_datasets_own_ids_and_boxes_as_coco_writes_them() -> None:
    outputs = [
        {
            "boxes": torch.tensor([[1.0, 2.0, 4.5, 8.0]]),
            "scores": torch.tensor([0.5]),
            "labels": torch.tensor([3]),
        },
        {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    results = to_results(outputs, [544, 7], CATEGORIES)
    assert results == [{"image_id": 544, "category_id": 90, "bbox": [1.0, 2.0, 3.5, 6.0], "score": 0.5}]
    assert json.loads(json.dumps(results)) == results
