"""A run's splits: the search never sees what is held out, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jdn_core.data.layouts import DRAWN
from jdn_core.errors import DataError, InputMissing
from jdn_core.run import datasets, warm
from jdn_core.run.fingerprint import fingerprint
from jdn_core.settings.data import DataSettings
from jdn_core.settings.whole import Settings
from tests.tiny_run import shapes, tiny_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shapes(tmp_path / "data")


def settings(root: Path, holdout: float | str) -> Settings:
    return tiny_settings(root, data={"holdout": holdout})


def ids(root: Path, holdout: float | str) -> tuple[set[int], set[int]]:
    """Image ids that the search measures on, and those held out."""
    data = settings(root, holdout).data
    held = datasets.held_out(data)
    found = datasets.dataset(data, "val").images, held.images if held else ()
    seen, unseen = ({image.id for image in images} for images in found)
    return seen, unseen


def add_test_split(root: Path) -> Path:
    """The validation photos once more; the annotation file."""
    shutil.copytree(root / "val", root / "test")
    return Path(shutil.copy(root / "annotations" / "val.json", root / "annotations" / "test.json"))


def test_without_a_holdout_the_search_sees_all_of_val_and_its_digest_is_as_before(root: Path) -> None:
    seen, unseen = ids(root, 0)
    assert (len(seen), unseen) == (4, set())
    assert settings(root, 0).digest == tiny_settings(root).digest != settings(root, 0.5).digest
    assert set(fingerprint(settings(root, 0))) == {"settings", "train", "val", "jdn", "torch", "torchvision"}


def test_the_search_never_sees_what_is_held_out(root: Path) -> None:
    whole, _ = ids(root, 0)
    seen, unseen = ids(root, 0.5)
    assert seen | unseen == whole
    assert min(len(seen), len(unseen)) > 0
    assert not seen & unseen
    bench = warm.bench(settings(root, 0.5))
    assert {image.id for image in bench.val.dataset.images} == seen
    warm.close()


def test_a_test_split_may_be_what_is_held_out(root: Path) -> None:
    with pytest.raises(InputMissing, match="no test split there"):
        datasets.check_data(settings(root, "test"))
    add_test_split(root)
    seen, unseen = ids(root, "test")
    assert seen == unseen == ids(root, 0)[0]  # the same photos here, read from two splits
    assert "test" in fingerprint(settings(root, "test"))


def test_a_test_split_with_other_classes_is_refused(root: Path) -> None:
    file = add_test_split(root)
    data = json.loads(file.read_text())
    data["categories"][0]["name"] = "another"
    file.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"test\.json: categories: must be the same in both splits"):
        datasets.check_data(settings(root, "test"))


def test_a_share_that_leaves_nothing_is_refused_before_anything_is_trained(root: Path) -> None:
    with pytest.raises(DataError, match=r"val\.json: images: data\.holdout 1e-09 must leave an image"):
        datasets.check_data(settings(root, 1e-9))


def named_files(root: Path, **values: Path | None) -> DataSettings:
    """Settings of the data by its files alone, the shapes' training split in a folder of its own."""
    files: dict[str, Path | None] = {"train_json": root / "annotations" / "train.json"} | values
    given = {name: None if file is None else str(file) for name, file in files.items()}
    return tiny_settings(root, data={"root": None, **given}).data


def test_files_may_be_named_one_by_one(root: Path) -> None:
    val = root / "annotations" / "val.json"
    (root / "train").rename(root / "photos")
    data = named_files(root, train_images=root / "photos", val_json=val)
    assert [len(datasets.dataset(data, split).images) for split in ("train", "val")] == [16, 4]
    assert datasets.described(data)[0] == f"data: {root / 'annotations' / 'train.json'}, {val}"


def test_the_folder_of_the_images_may_be_named_alone(root: Path) -> None:
    (root / "train").rename(root / "elsewhere")
    data = settings(root, 0).data.model_copy(update={"train_images": root / "elsewhere"})
    assert len(datasets.dataset(data, "train").images) == 16
    with pytest.raises(InputMissing, match=r"train: no such folder, but train\.json"):
        datasets.dataset(settings(root, 0).data, "train")


def test_a_lone_training_file_gives_val_a_fifth_and_says_so(root: Path) -> None:
    data = named_files(root)
    train, val = (datasets.dataset(data, split).images for split in ("train", "val"))
    assert (len(train) + len(val), {image.id for image in train} & {image.id for image in val}) == (16, set())
    assert datasets.described(data) == [f"data: {root / 'annotations' / 'train.json'}", f"data: {DRAWN}"]


def test_a_picture_in_train_and_val_is_said_with_its_name(root: Path) -> None:
    first, second = sorted((root / "val").iterdir())[:2]
    shutil.copy(first, root / "train" / sorted(path.name for path in (root / "train").iterdir())[3])
    lines = datasets.described(settings(root, 0).data)
    assert len(lines) == 2
    assert lines[1].startswith("WARNING: 1 pictures are in train and in val")
    assert first.name in lines[1]
    assert second.name not in lines[1]
