"""Every case of the collection of tricky inputs gives the outcome that the collection expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jdn_core.data.coco.checking import CheckResult, check
from jdn_core.data.coco.dataset import CocoDataset, ground_truth, load, read_image
from jdn_core.errors import DataError
from jdn_core.evaluation.average_precision import coco_numbers

Expected = dict[str, Any]

SOUND = ["modes", "exif_upright", "noann", "crowd", "ids_gaps"]
WITH_BAD_BOXES = ["zero_area", "bad_boxes"]
BROKEN = {
    "unknown_image_id": ["annotations[1].image_id: must be the id of one of the images, got 999"],
    "duplicate_image_id": ["images[1].id: must be unique"],
    "missing_file": ["images[1].file_name: no such file", "not_there.jpg"],
    "truncated_json": ["truncated_json.json: line 1, column 5001: not valid JSON"],
    "empty": ["images: must name one image at least"],
}


@pytest.fixture(scope="session")
def tricky(jdn_data: Path) -> Path:
    return jdn_data / "tricky"


@pytest.fixture(scope="session")
def expected(tricky: Path) -> Expected:
    content: Expected = json.loads((tricky / "expected.json").read_text())
    return content


def file_of(tricky: Path, case: str) -> Path:
    return tricky / "annotations" / f"{case}.json"


def checked(tricky: Path, case: str, **options: bool) -> CheckResult:
    return check(file_of(tricky, case), images=tricky / "images", **options)


def loaded(tricky: Path, case: str, **options: bool) -> CocoDataset:
    return load(file_of(tricky, case), tricky / "images", **options)


def boxes_of(dataset: CocoDataset) -> int:
    return sum(len(image.boxes) for image in dataset.images)


def test_every_case_is_tested_here(expected: Expected) -> None:
    assert sorted([*SOUND, *WITH_BAD_BOXES, *BROKEN, "corrupt"]) == sorted(expected)


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_case_has_no_problem_and_all_of_its_boxes(
    tricky: Path, expected: Expected, case: str
) -> None:
    found, wanted = checked(tricky, case), expected[case]
    assert (found.ok, found.problems) == (True, ())
    assert (found.images, found.boxes) == (wanted.get("images", 2), wanted.get("boxes", 5))
    assert boxes_of(loaded(tricky, case)) == wanted.get("non_crowd", found.boxes)


@pytest.mark.parametrize("case", SOUND)
def test_every_image_is_upright_rgb_of_the_size_that_is_written(tricky: Path, case: str) -> None:
    for record in loaded(tricky, case).images:
        pixels = read_image(record)
        assert (pixels.shape, pixels.dtype) == ((record.height, record.width, 3), np.uint8)
        assert pixels.std() > 5, record.path.name


def test_the_eight_orientations_are_one_photo(tricky: Path, expected: Expected) -> None:
    records = {record.path.name: record for record in loaded(tricky, "exif_upright").images}
    eight = [records[f"exif_{orientation}.jpg"] for orientation in range(1, 9)]
    first = read_image(eight[0]).astype(int)
    for record in eight:
        assert np.abs(read_image(record) - first).mean() < 4
        assert len(record.boxes) == expected["exif_upright"]["boxes_per_exif_image"]


def test_an_image_of_crowd_alone_has_no_target(tricky: Path, expected: Expected) -> None:
    by_id = {record.id: record for record in loaded(tricky, "crowd").images}
    assert len(by_id[expected["crowd"]["only_crowd_image"]].boxes) == 0


def test_images_without_boxes_are_kept(tricky: Path, expected: Expected) -> None:
    empty = [record for record in loaded(tricky, "noann").images if not len(record.boxes)]
    assert len(empty) == expected["noann"]["images_without_boxes"]


def test_labels_are_ranks_of_ids_with_gaps(tricky: Path, expected: Expected) -> None:
    categories = loaded(tricky, "ids_gaps").categories
    assert [category.id for category in categories] == expected["ids_gaps"]["sorted_ids"]
    assert len(categories) == expected["ids_gaps"]["num_classes"]


@pytest.mark.parametrize("case", WITH_BAD_BOXES)
def test_unusable_boxes_are_named_or_dropped_with_a_count(
    tricky: Path, expected: Expected, case: str
) -> None:
    usable = expected[case]["usable"]
    found = checked(tricky, case)
    assert len(found.problems) == found.boxes - usable
    assert all(problem.where.endswith(".bbox") for problem in found.problems)
    dataset = loaded(tricky, case, drop_bad_boxes=True)
    assert (boxes_of(dataset), dataset.dropped) == (usable, found.boxes - usable)


def test_every_kind_of_bad_box_is_judged_as_expected(tricky: Path, expected: Expected) -> None:
    notes = [row["note"] for row in json.loads(file_of(tricky, "bad_boxes").read_text())["annotations"]]
    dataset = loaded(tricky, "bad_boxes", drop_bad_boxes=True)
    usable = {note: len(image.boxes) for note, image in zip(notes, dataset.images, strict=True)}
    assert usable == expected["bad_boxes"]["usable_per_case"]


@pytest.mark.parametrize(("case", "words"), BROKEN.items(), ids=BROKEN)
def test_a_broken_case_is_one_problem_that_says_what_and_where(
    tricky: Path, case: str, words: list[str]
) -> None:
    found = checked(tricky, case)
    assert len(found.problems) == 1
    assert all(word in str(found.problems[0]) for word in words)
    with pytest.raises(DataError) as caught:
        loaded(tricky, case)
    assert caught.value.problems == found.problems


def test_an_empty_dataset_can_still_be_evaluated(tricky: Path) -> None:
    numbers = coco_numbers(ground_truth(loaded(tricky, "empty", require_boxes=False)), [])
    assert set(numbers.twelve.values()) == {-1.0}


def test_every_corrupt_image_is_named(tricky: Path, expected: Expected) -> None:
    names = [*expected["corrupt"]["pillow_says"]]
    found = checked(tricky, "corrupt")
    assert [problem.value.strip("'") for problem in found.problems] == names
    with pytest.raises(DataError) as caught:
        loaded(tricky, "corrupt")
    assert {problem.value.strip("'") for problem in caught.value.problems} == {*names} - {"flipped_bytes.jpg"}


@pytest.mark.parametrize("case", ["noann", "crowd", "zero_area", "ids_gaps"])
def test_the_twelve_numbers_are_pycocotools_own(tricky: Path, expected: Expected, case: str) -> None:
    detections = json.loads((tricky / "annotations" / expected[case]["fake_dets_file"]).read_text())
    numbers = coco_numbers(ground_truth(loaded(tricky, case, drop_bad_boxes=True)), detections)
    assert numbers.twelve == pytest.approx(expected[case]["pycocotools_scores"], abs=1e-6)
