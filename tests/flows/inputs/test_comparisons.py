"""`jdn compare` on searches on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import main
from tests.fixtures import frozen


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparisons")
    frozen.thawed("finished", folder / "run")
    (folder / "other").mkdir()
    frozen.thawed("finished", folder / "other" / "run")
    settings = folder / "other" / "run" / "settings.yaml"
    settings.write_text(settings.read_text().replace("seed: ", "seed: 1"))
    return folder


def test_searches_are_put_side_by_side(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    folders = [str(place / "run"), str(place / "other" / "run")]
    with pytest.raises(SystemExit, match=r"^0$"):
        main.main(["compare", *folders, "--out", str(page), "--json"])
    found = json.loads(capfd.readouterr().out)
    assert [each["setting"] for each in found["differences"]] == ["seed"]
    assert [each["name"] for each in found["searches"]] == folders
    assert found["searches"][0]["best"]["ap"] == found["searches"][1]["best"]["ap"]
    assert (found["page"], page.read_text().count("<svg")) == (str(page), 3)


def test_people_see_tables(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main.main(["compare", str(place / "run"), str(place / "run")])
    out = capfd.readouterr().out
    assert "winner: AP (%)" in out
    assert "settings that differ" not in out


def test_one_search_or_none_is_refused(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^64$"):
        main.main(["compare", str(place / "run")])
    assert "compare takes two searches or more, got 1" in capfd.readouterr().err
    with pytest.raises(SystemExit, match=r"^66$"):
        main.main(["compare", str(place / "run"), str(tmp_path)])
    assert "no search there" in capfd.readouterr().err
