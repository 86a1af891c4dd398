"""What the README promises is there: presets, make targets, rooms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    return re.split(r"(?m)^## ", README.split(f"\n## {title}\n")[1])[0]


def test_every_preset_is_named() -> None:
    told = set(re.findall(r"`((?:coco|bccd|demo)\w*)`", section("Quick start")))
    assert told == {path.stem for path in (ROOT / "deployments" / "presets").glob("*.yaml")}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", README))))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text())


def test_the_map_names_every_room_and_nothing_else() -> None:
    told, room = set(), ""
    for indent, name in re.findall(
        r"(?m)^(  )?([\w/]+(?:\.py)?)  ", section("Where things are").split("```")[1]
    ):
        room = room if indent else name
        told.add(room + name if indent else name)
    rooms = {
        f"{package}/{path.name}/"
        for package in ("jdn_core", "tasks", "flows")
        for path in (ROOT / package).iterdir()
        if (path / "__init__.py").exists()
    }
    files = {f"jdn_core/{path.name}" for path in (ROOT / "jdn_core").glob("*.py") if path.stem != "__init__"}
    assert told == rooms | files | {
        "jdn_core/",
        "tasks/",
        "flows/",
        "deployments/",
        "docker/",
        "docs/",
        "tests/",
    }
