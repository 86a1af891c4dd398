"""The rules of a COCO annotation file, one by one and all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdn_core.data.coco.document import clip, examine, fault

Content = dict[str, Any]
Change = Callable[[Content], object]

SIZE = (40, 30)


def problems(content: object, **options: bool) -> list[str]:
    return [str(problem) for problem in examine(content, "train.json", **options).problems]


def test_a_sound_file_has_no_problem_and_labels_stay_category_ids(content: Content) -> None:
    document = examine(content, "train.json")
    assert document.problems == []
    assert [category.id for category in document.categories] == [3, 14, 90]
    assert document.boxes == {7: [((1, 2, 11, 10), 90), ((5.5, 5, 25.5, 25), 3)]}


@pytest.mark.parametrize("value", [None, [], 3, "images"])
def test_the_top_level_must_be_an_object(value: object) -> None:
    assert "the top level must be an object" in problems(value)[0]


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_a_missing_section_is_one_problem_and_not_one_for_every_annotation(
    content: Content, section: str
) -> None:
    del content[section]
    assert problems(content) == [f"train.json: {section}: must be a list, got nothing"]


WRONG: dict[str, tuple[Change, str]] = {
    "duplicate image": (
        lambda c: c["images"].append(dict(c["images"][0])),
        "images[1].id: must be unique, but images[0] has it too, got 7",
    ),
    "duplicate annotation": (
        lambda c: c["annotations"][1].update(id=1),
        "annotations[1].id: must be unique, but annotations[0] has it too, got 1",
    ),
    "duplicate category": (
        lambda c: c["categories"][2].update(id=3),
        "categories[2].id: must be unique, but categories[1] has it too, got 3",
    ),
    "text as id": (lambda c: c["images"][0].update(id="7"), "images[0].id: must be a whole number, got '7'"),
    "truth as id": (
        lambda c: c["images"][0].update(id=True),
        "images[0].id: must be a whole number, got True",
    ),
    "huge id": (
        lambda c: c["annotations"][0].update(id=2**64),
        "annotations[0].id: must be a whole number, got 18446744073709551616",
    ),
    "no id": (
        lambda c: c["annotations"][0].pop("id"),
        "annotations[0].id: must be a whole number, got nothing",
    ),
    "row of another kind": (lambda c: c["images"].append(3), "images[1]: must be an object, got 3"),
    "no file name": (
        lambda c: c["images"][0].update(file_name=None),
        "images[0].file_name: must be a text, got nothing",
    ),
    "no width": (
        lambda c: c["images"][0].pop("width"),
        "images[0].width: must be a whole number > 0, got nothing",
    ),
    "no height": (
        lambda c: c["images"][0].update(height=0),
        "images[0].height: must be a whole number > 0, got 0",
    ),
    "nameless category": (
        lambda c: c["categories"][0].update(name=""),
        "categories[0].name: must be a text, got ''",
    ),
    "unknown image": (
        lambda c: c["annotations"][1].update(image_id=8),
        "annotations[1].image_id: must be the id of one of the images, got 8; "
        "add the image, or remove annotation 2",
    ),
    "image of the wrong type": (
        lambda c: c["annotations"][1].update(image_id=[7]),
        "annotations[1].image_id: must be a whole number, got [7]",
    ),
    "unknown category": (
        lambda c: c["annotations"][0].update(category_id=4),
        "annotations[0].category_id: must be the id of one of the categories, got 4; "
        "add the category, or remove annotation 1",
    ),
    "crowd flag": (
        lambda c: c["annotations"][0].update(iscrowd=2),
        "annotations[0].iscrowd: must be 0 or 1, got 2",
    ),
    "area": (
        lambda c: c["annotations"][0].update(area="80"),
        "annotations[0].area: must be a finite number, got '80'",
    ),
    "huge area": (
        lambda c: c["annotations"][0].update(area=10**400),
        f"annotations[0].area: must be a finite number, got 1{'0' * 56}...",
    ),
    "blank category": (
        lambda c: c["categories"][0].update(name=" "),
        "categories[0].name: must be a text, got ' '",
    ),
    "category of two lines": (
        lambda c: c["categories"][0].update(name="cup\nERROR"),
        "categories[0].name: must have no line breaks, control characters or halves of characters, "
        r"got 'cup\nERROR'",
    ),
    "half of a character": (
        lambda c: c["images"][0].update(file_name="\ud800.png"),
        "images[0].file_name: must have no line breaks, control characters or halves of characters, "
        r"got '\ud800.png'",
    ),
    "negative width": (
        lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]),
        "annotations[0].bbox: width must be > 0, got -3; drop the box or pass --drop-bad-boxes",
    ),
    "no box": (
        lambda c: c["annotations"][0].pop("bbox"),
        "annotations[0].bbox: must be four finite numbers [x, y, width, height], got nothing; "
        "drop the box or pass --drop-bad-boxes",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_broken_rule_is_told_with_its_place_and_value(
    content: Content, change: Change, message: str
) -> None:
    change(content)
    assert f"train.json: {message}" in problems(content)


def test_all_problems_are_found_in_one_pass(content: Content) -> None:
    for change, _ in (WRONG["no width"], WRONG["nameless category"], WRONG["crowd flag"], WRONG["area"]):
        change(content)
    places = [problem.where for problem in examine(content, "train.json").problems]
    assert places == [
        "categories[0].name",
        "images[0].width",
        "annotations[0].iscrowd",
        "annotations[0].area",
    ]


@pytest.mark.parametrize("name", ["tasse à café", "杯子", "🐶 👨‍👩‍👧", "a/b", "no\u00a0break"])
def test_a_category_may_be_called_anything_that_can_be_written(content: Content, name: str) -> None:
    content["categories"][0]["name"] = name
    assert problems(content) == []


def test_a_long_value_is_cut_to_a_line(content: Content) -> None:
    content["annotations"][0]["bbox"] = list(range(1000))
    assert len(problems(content)[0]) < 250


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([1, 2, 3], "four finite numbers"),
        ([1, 2, 3, "4"], "four finite numbers"),
        ([1, 2, 3, True], "four finite numbers"),
        ([1, 2, 10**400, 4], "four finite numbers"),
        ([1e308, 2, 1.7e308, 4], "1x1 pixel"),
        ([1, 2, float("inf"), 4], "four finite numbers"),
        ({"x": 1}, "four finite numbers"),
        ([1, 2, 0, 4], "width must be > 0"),
        ([1, 2, 3, -0.5], "height must be > 0"),
        ([40, 2, 30, 4], "1x1 pixel of its 40x30 image"),
        ([39.5, 2, 30, 4], "1x1 pixel"),
        ([-9, -9, 3, 3], "1x1 pixel"),
        ([5, 5, 0.9, 20], "1x1 pixel"),
    ],
)
def test_an_unusable_box_is_a_problem_or_dropped_and_counted(
    content: Content, box: object, reason: str
) -> None:
    content["annotations"][0]["bbox"] = box
    assert [reason in problem for problem in problems(content)] == [True]
    document = examine(content, "train.json", drop_bad_boxes=True)
    assert (document.problems, document.dropped, len(document.boxes[7])) == ([], 1, 1)


def test_a_box_that_reaches_outside_is_clipped_and_counted(content: Content) -> None:
    content["annotations"][0]["bbox"] = [-5, 20, 100, 100]
    document = examine(content, "train.json")
    assert document.boxes[7][0][0] == (0, 20, 40, 30)
    assert (document.problems, document.clipped) == ([], 1)
    assert document.raw[0]["bbox"] == [-5, 20, 100, 100]


def test_a_crowd_is_no_target_but_stays_for_the_evaluation(content: Content) -> None:
    content["annotations"][0]["iscrowd"] = 1
    document = examine(content, "train.json")
    assert [category for _, category in document.boxes[7]] == [3]
    assert [row["iscrowd"] for row in document.raw] == [1, 0]


def test_missing_area_and_crowd_flag_are_filled_in_for_the_evaluation(content: Content) -> None:
    for row in content["annotations"]:
        del row["area"], row["iscrowd"]
    rows = examine(content, "train.json").raw
    assert [(row["id"], row["area"], row["iscrowd"]) for row in rows] == [(1, 80, 0), (2, 400, 0)]


def test_a_box_without_four_numbers_never_reaches_the_evaluation(content: Content) -> None:
    content["annotations"][0]["bbox"] = [1, 2, 3]
    assert [row["category_id"] for row in examine(content, "train.json", drop_bad_boxes=True).raw] == [3]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(
            [
                "id",
                "file_name",
                "width",
                "height",
                "image_id",
                "category_id",
                "bbox",
                "iscrowd",
                "area",
                "name",
            ]
        ),
        JSON,
    ),
    max_size=3,
)


@given(st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), ROWS | JSON))
def test_no_json_value_breaks_the_check(value: Content) -> None:
    document = examine(value, "train.json")
    assert document.problems or {"images", "annotations", "categories"} <= value.keys()
    assert all(problem.where for problem in document.problems)


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=4))
def test_a_usable_box_is_inside_and_at_least_a_pixel(box: list[float]) -> None:
    if fault(box, SIZE) is None:
        x1, y1, x2, y2 = clip(box, SIZE)
        assert 0 <= x1 <= x2 - 1 <= 39
        assert 0 <= y1 <= y2 - 1 <= 29


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 11, 2, 11, 10, 1, 10]],
        [[1, 2, 5, 2, 5, 10], [5, 3, 11.0, 9, 6, 8]],
        [1, 2, 11, 2, 11, 10],
    ],
)
@pytest.mark.parametrize("bbox", ["gone", None, []])
def test_a_box_that_is_missing_is_the_extent_of_its_polygons(
    content: Content, segmentation: object, bbox: object
) -> None:
    row = content["annotations"][0]
    row.pop("bbox") if bbox == "gone" else row.update(bbox=bbox)
    row["segmentation"] = segmentation
    document = examine(content, "train.json")
    assert (document.problems, document.outlined) == ([], 1)
    assert document.boxes[7][0][0] == (1, 2, 11, 10)
    assert document.raw[0]["bbox"] == [1, 2, 10, 8]
    assert document.doubts() == ["train.json: boxes that are made of polygons, for there is no bbox: 1"]


@pytest.mark.parametrize(
    "segmentation",
    [{"counts": [1, 2], "size": [30, 40]}, [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [["a"] * 6], "x"],
)
def test_a_mask_without_a_box_is_told_to_compute_it(content: Content, segmentation: object) -> None:
    del content["annotations"][0]["bbox"]
    content["annotations"][0]["segmentation"] = segmentation
    assert problems(content) == [
        "train.json: annotations[0].bbox: has a segmentation but no bbox, got nothing; "
        "compute it, as mask.toBbox does"
    ]
    assert examine(content, "train.json", drop_bad_boxes=True).dropped == 1


@pytest.mark.parametrize("number", [float, lambda value: value * 1.0])
def test_whole_numbers_may_be_written_with_a_point(content: Content, number: Callable[[int], float]) -> None:
    before = examine(content, "train.json")
    for section, keys in (
        ("images", ("id", "width", "height")),
        ("annotations", ("id", "image_id", "category_id")),
        ("categories", ("id",)),
    ):
        for row in content[section]:
            row.update({key: number(row[key]) for key in keys})
    after = examine(content, "train.json")
    assert (after.problems, after.entries, after.boxes) == ([], before.entries, before.boxes)
    assert isinstance(after.entries[0].width, int)


@pytest.mark.parametrize("size", [40.5, "40", 0, -1.0, None, float("inf")])
def test_boxes_are_judged_beside_wrong_sizes(content: Content, size: object) -> None:
    content["images"][0]["width"] = size
    content["annotations"][0]["bbox"] = ["1", "2", "3", "4"]
    content["annotations"][1]["bbox"][2] = -3
    assert [line.split(": ")[1] for line in problems(content)] == [
        "images[0].width",
        "annotations[0].bbox",
        "annotations[1].bbox",
    ]


def boxed(content: Content, boxes: list[list[float]]) -> list[str]:
    rows = [{"id": n, "image_id": 7, "category_id": 3, "bbox": box} for n, box in enumerate(boxes, start=1)]
    return examine(content | {"annotations": rows}, "train.json").doubts()


CORNERS: list[list[float]] = [[20, 15, 38, 28], [5, 5, 30, 20], [25, 10, 35, 29], [2, 18, 39, 29]]


@pytest.mark.parametrize(
    ("boxes", "share"), [(CORNERS, "3 of 4"), ([*CORNERS, [1, 2, 3, 4]], "3 of 5"), (CORNERS * 3, "9 of 12")]
)
def test_corners_in_place_of_width_and_height_are_suspected_aloud(
    content: Content, boxes: list[list[float]], share: str
) -> None:
    [doubt] = boxed(content, boxes)
    assert doubt.startswith(f"WARNING: train.json: {share} boxes reach outside their image")


@pytest.mark.parametrize(
    "boxes", [CORNERS[:3], [*CORNERS, [20, 15, 10, 10]], [[x, y, 5, 5] for x, y, *_ in CORNERS]]
)
def test_boxes_that_cannot_be_corners_are_not_suspected(content: Content, boxes: list[list[float]]) -> None:
    assert boxed(content, boxes) == []
