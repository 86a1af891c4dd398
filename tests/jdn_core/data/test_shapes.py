"""The generated dataset: the same bytes for a seed, exact boxes, whole or not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from jdn_core.data.coco import writing
from jdn_core.data.coco.checking import check
from jdn_core.data.coco.dataset import load
from jdn_core.data.layouts import find_split
from jdn_core.data.shapes import CLASSES, draw_scene, generate, visible
from jdn_core.errors import StorageError, UsageError
from jdn_core.storage import durable


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_fifth_of_the_images_is_for_validation_and_all_is_sound(shapes: Path) -> None:
    found = check(shapes)
    assert (found.ok, found.images, found.categories) == (True, 15, 6)
    (layout,) = found.notes
    assert layout.endswith("annotations/train.json, annotations/val.json")
    assert len(load(*find_split(shapes, "val")).images) == 3
    assert found.boxes > 30


def test_the_counts_are_those_of_the_files(tmp_path: Path) -> None:
    counts = generate(tmp_path / "a", images=2, size=32, seed=0)
    found = check(tmp_path / "a")
    assert counts == {"images": 2, "train": 1, "val": 1, "boxes": found.boxes, "categories": len(CLASSES)}


def test_a_seed_draws_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        generate(tmp_path / name, images=4, size=48, seed=seed)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert not {*hashes(tmp_path / "a").values()} & {*hashes(tmp_path / "c").values()}


def test_an_image_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    generate(tmp_path / "few", images=5, size=48, seed=3)
    generate(tmp_path / "many", images=10, size=48, seed=3)
    few, many = hashes(tmp_path / "few"), hashes(tmp_path / "many")
    assert few["train/000003.jpg"] == many["train/000003.jpg"]


def test_boxes_are_the_extents_of_what_can_be_seen_and_little_is_hidden() -> None:
    for seed in range(20):
        scene = draw_scene(np.random.default_rng(seed), 96)
        numbers = [number for number, label in enumerate(scene.labels) if label is not None]
        for number, (label, (x, y, width, height), area) in zip(numbers, visible(scene), strict=True):
            mask = scene.owner == number
            assert scene.labels[number] == label
            assert (
                mask.sum() == mask[y : y + height, x : x + width].sum() == area >= 0.7 * scene.whole[number]
            )
            assert all(
                edge.any() for edge in (mask[y], mask[y + height - 1], mask[:, x], mask[:, x + width - 1])
            )


def test_sizes_spread_widely_and_all_classes_are_as_frequent(tmp_path: Path) -> None:
    generate(tmp_path / "a", images=100, size=128, seed=0)
    rows = json.loads((tmp_path / "a" / "annotations" / "train.json").read_text())["annotations"]
    sides = np.sqrt([row["area"] for row in rows])
    assert np.quantile(sides, 0.1) < 10 < 30 < np.quantile(sides, 0.95)
    counts = np.bincount([row["category_id"] for row in rows])[1:]
    assert counts.min() > 0.5 * counts.max()


def test_the_smallest_shapes_can_be_larger(tmp_path: Path) -> None:
    generate(tmp_path / "a", images=100, size=128, seed=0, least=1 / 4)
    rows = json.loads((tmp_path / "a" / "annotations" / "train.json").read_text())["annotations"]
    whole = [
        row
        for row in rows
        if min(row["bbox"][:2]) > 0 and max(np.add(*np.split(np.array(row["bbox"]), 2))) < 128
    ]
    assert min(max(row["bbox"][2:]) for row in whole) > 128 / 8


@pytest.mark.parametrize("change", [{"images": 1}, {"size": 31}, {"seed": -1}, {"least": 0}, {"least": 0.6}])
def test_numbers_out_of_range_are_refused_and_nothing_is_made(
    tmp_path: Path, change: dict[str, float]
) -> None:
    with pytest.raises(UsageError, match="needs images >= 2, size >= 32, seed >= 0, least in"):
        generate(tmp_path / "a", **{"images": 4, "size": 48, "seed": 0} | change)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    generate(tmp_path / "empty", images=2, size=32, seed=0)
    (tmp_path / "file").write_text("mine")
    for taken in (tmp_path / "empty", tmp_path / "file"):
        before = hashes(tmp_path)
        with pytest.raises(UsageError, match="must be a new or empty folder"):
            generate(taken, images=2, size=32, seed=1)
        assert hashes(tmp_path) == before


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> durable.Written:
        if path.name == "000001.jpg":
            raise StorageError(f"{path}: No space left on device")
        return durable.write_bytes(path, data)

    monkeypatch.setattr(writing, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        generate(tmp_path / "a", images=4, size=32, seed=0)
    assert list(tmp_path.iterdir()) == []
