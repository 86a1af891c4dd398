"""A detector on a dataset and on pictures, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.cli import main
from flows.inputs import models
from flows.inputs.settings_file import dump
from jdn_core.data.coco.document import Category
from jdn_core.data.shapes import generate
from jdn_core.detector.build import build
from jdn_core.detector.folder import save_detector
from jdn_core.errors import DataError, InputMissing, UsageError
from jdn_core.settings.whole import parse
from jdn_core.space.architecture import DetectorSpec, RegionSpec, Resolution
from jdn_core.space.families import family


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a drawn dataset ``data`` and an untrained ``detector`` for its classes."""
    folder = tmp_path_factory.mktemp("models")
    generate(folder / "data", images=10, size=48, seed=0)
    classes = json.loads((folder / "data" / "annotations" / "val.json").read_text())["categories"]
    region = RegionSpec(train_proposals=(40, 20), proposals=(40, 20), score_threshold=0.0, detections=5)
    names = tuple((item["id"], item["name"]) for item in classes)
    backbone = family("r18", width=0.125)
    spec = DetectorSpec(backbone, names, neck=16, head=16, region=region, resolution=Resolution(64, 64))
    torch.manual_seed(0)
    save_detector(build(spec), folder / "detector")
    return folder


def jdn(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    with pytest.raises(SystemExit) as ended:
        main.main([*map(str, arguments), "--json"])
    out, err = capfd.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(out), err


def test_evaluate_gives_the_twelve_numbers_and_each_class(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, found, err = jdn(capfd, "evaluate", place / "detector", "--data", place / "data")
    twelve = {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"}
    assert (code, found.keys() - twelve) == (0, {"per_class", "resolution"})
    assert 0 <= found["AP"] <= 1
    assert found["resolution"] == "64x64"
    assert "evaluate 64x64: 1/1" in err


def test_evaluate_is_readable_for_people(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main.main(
            ["evaluate", str(place / "detector"), "--data", str(place / "data"), "--resolution", "32x32"]
        )
    out = capfd.readouterr().out
    assert "at 32x32 on 2 images of" in out
    assert "AR100" in out


def test_predict_gives_coco_results_and_draws_pictures(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pictures = sorted((place / "data" / "val").iterdir())
    arguments = ("predict", place / "detector", *pictures, "--out", tmp_path / "drawn", "--score", 0)
    code, found, _ = jdn(capfd, *arguments)
    assert (code, len(found["detections"])) == (0, 10)
    assert found["detections"][0].keys() == {"image_id", "category_id", "category", "bbox", "score"}
    assert {hit["image_id"] for hit in found["detections"]} == {str(picture) for picture in pictures}
    assert [Path(path).read_bytes()[1:4] for path in found["pictures"]] == [b"PNG", b"PNG"]


def test_predict_leaves_out_what_it_doubts(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    picture = next((place / "data" / "val").iterdir())
    found = jdn(capfd, "predict", place / "detector", picture, "--score", 1)[1]
    assert found == {"detections": [], "pictures": [], "images": 1, "hidden": 0, "others": 0}


def test_predict_takes_a_folder_and_leaves_its_pictures_as_they_are(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(place / "data" / "val", folder)
    (folder / "drawing.png").symlink_to(place / "data" / "val" / "000009.jpg")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, found, _ = jdn(capfd, "predict", place / "detector", folder, "--score", 0, "--out", folder)
    assert (code, found["images"], len(found["pictures"])) == (0, 3, 3)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_predict_names_pictures_that_are_missing_or_broken(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, found, _ = jdn(capfd, "predict", place / "detector", tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert (code, found["error"]["message"].count("no such picture")) == (66, 2)
    (tmp_path / "a.jpg").write_text("not a picture")
    code, found, _ = jdn(capfd, "predict", place / "detector", tmp_path / "a.jpg")
    assert (code, found["error"]["problems"][0]["file"]) == (65, "a.jpg")


def test_predict_cannot_draw_into_a_file(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    picture = next((place / "data" / "val").iterdir())
    code, found, _ = jdn(capfd, "predict", place / "detector", picture, "--out", tmp_path / "file")
    assert (code, "cannot be written" in found["error"]["message"]) == (74, True)


CAT, DOG = Category(1, "cat"), Category(2, "dog")


@pytest.mark.parametrize(
    ("classes", "categories", "by", "wanted"),
    [
        (((7, "dog"), (8, "cat")), (CAT, DOG), "name", (DOG, CAT)),
        (((1, "dog"), (2, "cat")), (CAT, DOG), "name", (DOG, CAT)),
        (((1, "dog"), (2, "cat")), (CAT, DOG), "id", (CAT, DOG)),
        (((2, "Hund"), (1, "Katze")), (CAT, DOG), "id", (DOG, CAT)),
        (((1, "cat"), (2, "cat")), (CAT, Category(2, "cat")), "name", (CAT, Category(2, "cat"))),
    ],
)
def test_classes_are_matched_by_name_unless_by_id_is_asked_for(
    classes: tuple[tuple[int, str], ...],
    categories: tuple[Category, ...],
    by: str,
    wanted: tuple[Category, ...],
) -> None:
    assert models.match_classes(classes, categories, by=by) == wanted


@pytest.mark.parametrize(
    ("classes", "by"),
    [
        (((1, "Cat"), (2, "dog")), "name"),
        (((2, "Hund"), (1, "Katze")), "name"),
        (((2, "cat"), (3, "cat")), "name"),
        (((1, "cat"),), "name"),
        (((1, "cat"), (3, "dog")), "id"),
    ],
)
def test_other_classes_are_never_scored(classes: tuple[tuple[int, str], ...], by: str) -> None:
    with pytest.raises(DataError, match="dataset: classes: must be those of the detector, "):
        models.match_classes(classes, (CAT, DOG), by=by)


def test_other_classes_are_refused_by_name_and_with_both_lists() -> None:
    with pytest.raises(DataError) as caught:
        models.match_classes(((1, "cat"), (3, "cow")), (CAT, DOG))
    assert str(caught.value).splitlines() == [
        "dataset: cow: is missing, a class of the detector",
        "dataset: dog: is no class of the detector",
        "dataset: classes: must be those of the detector, 1 cat, 3 cow, got 1 cat, 2 dog; correct the names, "
        "or pass --match-classes id to `jdn evaluate` where the numbers mean the same",
    ]


def test_the_dataset_may_be_one_file_with_other_numbers_and_the_classes_keep_their_ap(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((place / "data" / "annotations" / "val.json").read_text())
    for row in content["categories"]:
        row["id"] = 100 - row["id"]
    for row in content["annotations"]:
        row["category_id"] = 100 - row["category_id"]
    (tmp_path / "other.json").write_text(json.dumps(content))
    images = ("--images", place / "data" / "val")
    _, first, _ = jdn(capfd, "evaluate", place / "detector", "--data", place / "data")
    code, second, _ = jdn(capfd, "evaluate", place / "detector", "--data", tmp_path / "other.json", *images)
    assert (code, second) == (0, first)
    found = jdn(
        capfd,
        "evaluate",
        place / "detector",
        "--data",
        tmp_path / "other.json",
        *images,
        "--match-classes",
        "id",
    )
    assert (found[0], found[1]["error"]["problems"][-1]["where"]) == (65, "classes")


def test_a_run_that_trained_a_base_alone_stands_for_its_base(place: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(dump(parse({})))
    (tmp_path / "base").symlink_to(place / "detector")
    assert models.find(str(tmp_path)).folder == tmp_path / "base"


def test_what_names_no_detector_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"detector\.json: no such file"):
        models.find(str(tmp_path))
    with pytest.raises(UsageError, match=r"^--pair needs a search's folder, got "):
        models.find(str(place / "detector"), pair=1)
    with pytest.raises(UsageError, match=r"after # must come the index of a pair, got 'x'$"):
        models.find("runs/first#x")
    with pytest.raises(UsageError, match=r"^--resolution: resolution must look like 1333x800, got '9'$"):
        models.find(str(place / "detector"), resolution="9")
    with pytest.raises(UsageError, match=r"^--split must be train, val or test, got 'best'$"):
        models.read_split(place / "data", "best", drop_bad_boxes=False)
