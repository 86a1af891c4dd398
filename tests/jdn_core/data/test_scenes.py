"""The test bed's scenes: the same pixels for a seed, exact boxes, two worlds, whole or not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdn_core.data import scenes as module
from jdn_core.data.coco.checking import check
from jdn_core.data.coco.dataset import load
from jdn_core.data.layouts import find_split
from jdn_core.data.scenes import WORLDS, WorldName, draw_scene, write_scenes
from jdn_core.errors import StorageError, UsageError
from jdn_core.storage import durable


def pixels(folder: Path) -> dict[str, str]:
    """Hashes of the decoded images: another version of zlib writes other files of the same pixels."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(Image.open(path).tobytes()).hexdigest()
        for path in sorted(folder.rglob("*.png"))
    }


def scene(seed: int, world: WorldName = "broad") -> module.Scene:
    return draw_scene(np.random.default_rng(seed), 96, WORLDS[world])


@pytest.fixture(scope="module", params=["broad", "own"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(path, images=60, size=64, seed=1, world=request.param)
    return path


def test_the_dataset_is_sound_and_test_is_a_split_of_its_own(folder: Path) -> None:
    found = check(folder)
    assert (found.ok, found.images, found.notes) == (True, 50, ())
    assert len(load(*find_split(folder, "val")).images) == 10
    assert len(json.loads((folder / "annotations" / "test.json").read_text())["images"]) == 10


def test_the_counts_are_those_of_the_files(tmp_path: Path) -> None:
    counts = write_scenes(tmp_path / "a", images=3, size=32, seed=0, world="own")
    files = [json.loads(file.read_text()) for file in (tmp_path / "a" / "annotations").iterdir()]
    boxes = sum(len(file["annotations"]) for file in files)
    assert counts == {"images": 3, "train": 1, "val": 1, "test": 1, "boxes": boxes, "categories": 6}


def test_a_seed_draws_the_same_pixels_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_scenes(tmp_path / name, images=4, size=48, seed=seed, world="broad")
    assert pixels(tmp_path / "a") == pixels(tmp_path / "b")
    assert not {*pixels(tmp_path / "a").values()} & {*pixels(tmp_path / "c").values()}


def test_the_pixels_are_those_of_every_platform() -> None:
    worlds: tuple[WorldName, ...] = ("broad", "own")
    found = {world: hashlib.sha256(scene(5, world).image.tobytes()).hexdigest()[:12] for world in worlds}
    assert found == {"broad": "2e001b5763b3", "own": "eaee53bb8a67"}


def test_a_scene_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    write_scenes(tmp_path / "few", images=6, size=48, seed=3, world="own")
    write_scenes(tmp_path / "many", images=12, size=48, seed=3, world="own")
    few, many = pixels(tmp_path / "few"), pixels(tmp_path / "many")
    assert few["train/000003.png"] == many["train/000003.png"]


def test_boxes_are_the_extents_of_what_can_be_seen_and_enough_is_visible() -> None:
    for seed in range(20):
        drawn = scene(seed)
        numbers = [number for number, label in enumerate(drawn.labels) if label is not None]
        for number, (label, (x, y, width, height), area) in zip(numbers, drawn.objects(), strict=True):
            mask = drawn.owner == number
            inside = mask[y : y + height, x : x + width]
            assert drawn.labels[number] == label
            assert mask.sum() == inside.sum() == area >= 0.6 * drawn.whole[number]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_sizes_spread_and_all_classes_are_as_frequent(folder: Path) -> None:
    rows = json.loads((folder / "annotations" / "train.json").read_text())["annotations"]
    sides = np.sqrt([row["bbox"][2] * row["bbox"][3] for row in rows])
    assert np.quantile(sides, 0.95) > 2 * np.quantile(sides, 0.05)
    counts = np.bincount([row["category_id"] for row in rows])[1:]
    assert counts.min() > 0.5 * counts.max()


def test_the_worlds_share_neither_classes_nor_outlines() -> None:
    broad, own = WORLDS["broad"], WORLDS["own"]
    assert not set(broad.classes) & set(own.classes)
    assert not set(broad.classes.values()) & set(own.classes.values())
    assert set(own.textures) - set(broad.textures)


@pytest.mark.parametrize("world", WORLDS)
def test_a_pair_of_classes_has_the_same_colours(world: WorldName) -> None:
    for label in range(0, len(WORLDS[world].classes), 2):
        first, second = (
            module._object_colour(np.random.default_rng(7), twin, WORLDS[world])
            for twin in (label, label + 1)
        )
        assert np.array_equal(first, second)


@pytest.mark.parametrize("change", [{"images": 2}, {"size": 31}, {"seed": -1}, {"world": "strange"}])
def test_values_out_of_range_are_refused_and_nothing_is_made(
    tmp_path: Path, change: dict[str, int | str]
) -> None:
    values = {"images": 4, "size": 48, "seed": 0, "world": "own"} | change
    with pytest.raises(UsageError, match="needs images >= 3, size >= 32, seed >= 0 and a world"):
        write_scenes(tmp_path / "a", **values)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="must be a new or empty folder"):
        write_scenes(tmp_path, images=3, size=32, seed=0, world="own")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> durable.Written:
        raise StorageError(f"{path}: the disk is full")

    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(StorageError, match="full"):
        write_scenes(tmp_path / "a", images=3, size=32, seed=0, world="own")
    assert list(tmp_path.iterdir()) == []
