"""The pictures that a user names, and where their drawings go."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.inputs.photos import drawings, named
from jdn_core.errors import InputMissing, UsageError


def test_a_folder_is_its_pictures_and_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "a.png",
        "in/c.webp",
        "._a.png",
        ".DS_Store",
        "Thumbs.db",
        "@eaDir/a.png",
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = named([tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in found.pictures] == [
        "a.png",
        "b.JPG",
        "in/c.webp",
    ]
    assert (found.hidden, found.others) == (4, 1)


def test_a_picture_named_twice_is_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert named([tmp_path / "a.png", tmp_path, tmp_path / "b.png"]).pictures == [tmp_path / "a.png"]


def test_what_is_not_there_is_named_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputMissing) as caught:
        named([tmp_path / "x.jpg", tmp_path / "empty", tmp_path / "y.jpg"])
    assert [line.rpartition(": ")[2] for line in str(caught.value).splitlines()] == [
        "no such picture",
        "a folder without a picture",
        "no such picture",
    ]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["p/a.jpg", "q/b.jpg"], ["a.boxes.png", "b.boxes.png"]),
        (["p/a.jpg", "p/a.png"], ["a.jpg.boxes.png", "a.png.boxes.png"]),
        (["p/a.jpg", "p/A.jpeg"], ["a.jpg.boxes.png", "A.jpeg.boxes.png"]),
        (["p/a.jpg", "q/a.jpg"], ["p/a.jpg.boxes.png", "q/a.jpg.boxes.png"]),
        (["p/a.b.jpg"], ["a.b.boxes.png"]),
    ],
)
def test_no_two_pictures_share_a_drawing(tmp_path: Path, names: list[str], wanted: list[str]) -> None:
    found = drawings([tmp_path / name for name in names], tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in found] == wanted


@pytest.mark.parametrize("kind", ["file", "link", "other folder"])
def test_a_drawing_never_takes_the_place_of_a_picture(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "p"
    place.mkdir()
    photo, drawn = place / "a.png", place / "a.boxes.png"
    photo.touch()
    drawn.touch()
    out = place
    if kind == "link":
        out = tmp_path / "out"
        out.mkdir()
        (out / "a.boxes.png").symlink_to(drawn)
    elif kind == "other folder":
        out = tmp_path / "out"
        out.symlink_to(place)
    with pytest.raises(UsageError, match=r"a\.boxes\.png: the drawing of .*a\.png would overwrite it"):
        drawings([photo, drawn], out)
