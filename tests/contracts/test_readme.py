"""What the README promises is there: presets, make targets, rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    return re.split(r"(?m)^## ", README.split(f"\n## {title}\n")[1])[0]


def test_every_preset_is_named() -> None:
    told = set(re.findall(r"`((?:coco|bccd|demo|photos_)\w*)`", section("Quick start")))
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


WALK = re.findall(r"(?m)^\w*\s+(\w+/[\w/]+\.py):([\w.]+) ", section("Where things are"))


def definition(file: str, name: str) -> ast.AST:
    """The function or method of that dotted name."""
    found: ast.AST = ast.parse((ROOT / file).read_text())
    for part in name.split("."):
        found = next(
            node
            for node in ast.iter_child_nodes(found)
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part
        )
    return found


def test_the_walk_has_ten_lines() -> None:
    assert len(WALK) == 10


@pytest.mark.parametrize(("file", "name"), WALK)
def test_every_place_of_the_walk_exists(file: str, name: str) -> None:
    assert isinstance(definition(file, name), ast.FunctionDef)


@pytest.mark.parametrize("line", range(1, 10))
def test_no_place_of_the_walk_goes_back_up(line: int) -> None:
    """Its module imports none of the functions above it, and it calls none through its module."""
    file, name = WALK[line]
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    calls = [node for node in ast.walk(definition(file, name)) if isinstance(node, ast.Call)]
    above = [(Path(each).with_suffix(""), function) for each, function in WALK[:line]]
    assert imported & {f"{'.'.join(each.parts)}.{function}" for each, function in above} == set()
    called = {ast.unparse(call.func) for call in calls}
    assert called & {f"{each.name}.{function}" for each, function in above} == set()
