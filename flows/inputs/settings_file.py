"""Settings as YAML: a file or a preset with the command line on top; written whole into a folder."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import yaml

from flows.inputs.yaml_file import read_file, read_mapping, read_value
from jdn_core.errors import InputMissing, Problem, SettingsError, shown
from jdn_core.run.file_names import SETTINGS_FILE
from jdn_core.settings.whole import Settings, parse

SCHEMA = 1  # of the file; a file without one, such as a preset, is of the newest
PLACES = ("root", "train_json", "train_images", "val_json", "val_images")  # of data, that are paths
_HEAD = "# All settings of a run of jdn"


@dataclass(frozen=True)
class Override:
    """One value of the command line that replaces the file's.

    Attributes:
        source: the option, for messages: ``--set``, ``--data``.
        key: where it goes, such as ``search.iterations`` or ``pool.phases.0.epochs``.
        value: plain data, as YAML would give it.
    """

    source: str
    key: str
    value: Any


def load(source: str, overrides: Sequence[Override] = ()) -> Settings:
    """Reads a settings file, or a preset by its name, and puts the overrides on top; the later one wins.

    Raises:
        InputMissing: ``source`` is neither a file nor a preset; the message names the nearest preset.
        SettingsError: all rules that do not hold, those of an override under the name of its option.
    """
    name, text = _find(source)
    data = read_mapping(text, name, if_empty=f"start from a preset: {', '.join(presets())}")
    if (schema := data.pop("schema", SCHEMA)) != SCHEMA:
        raise SettingsError.of([Problem(name, "schema", f"must be {SCHEMA}", shown(schema), "update jdn")])
    return _parsed(data, name, overrides)


def read_back(folder: Path, overrides: Sequence[Override] = ()) -> Settings:
    """Reads the settings that a folder's run began with, and puts the overrides on top.

    Paths that are gone are looked for inside the folder: a demo has its data there, and may have been moved.

    Raises:
        InputMissing: the folder holds no run.
        SettingsError: as ``load`` does.
    """
    file = folder / SETTINGS_FILE
    if not file.is_file():
        raise InputMissing(f"{folder}: no search there; its folder would hold {SETTINGS_FILE}")
    settings = load(str(file), overrides)
    found = {
        key: _inside(path, folder) for key in PLACES if (path := getattr(settings.data, key)) is not None
    }
    return settings.model_copy(update={"data": settings.data.model_copy(update=found)})


def _inside(path: Path, folder: Path) -> Path:
    """Returns the path, or the longest end of it that is there below the folder where the path is not."""
    if path.exists():
        return path
    ends = (folder.resolve().joinpath(*path.parts[start:]) for start in range(1, len(path.parts)))
    return next((end for end in ends if end.exists()), path)


def changed(settings: Settings, overrides: Sequence[Override]) -> Settings:
    """Returns the settings with the overrides on top; raises SettingsError as ``load`` does."""
    return _parsed(settings.model_dump(mode="json"), "settings", overrides) if overrides else settings


def read_set(texts: Iterable[str]) -> list[Override]:
    """Reads ``--set a.b=c``; the value is YAML: ``3``, ``0.1``, ``true``, ``null``, ``[1, 2]`` or text."""
    overrides, problems = [], []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.strip().split(".")):
            problems.append(Problem("--set", "", "must look like search.iterations=24", shown(text)))
            continue
        try:
            overrides.append(Override("--set", key.strip(), read_value(value, "--set")))
        except SettingsError as error:
            problems += [replace(problem, where=key.strip()) for problem in error.problems]
    if problems:
        raise SettingsError.of(problems)
    return overrides


def presets() -> list[str]:
    """Lists the presets that come with the package: each file of ``deployments/presets`` is one."""
    folder = resources.files("deployments") / "presets"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def dump(settings: Settings) -> str:
    """Writes settings as YAML text, every key spelt out; ``load`` gives back equal settings."""
    head = f"{_HEAD} {metadata.version('jdn')}; `jdn resume` reads them.\n"
    data = {"schema": SCHEMA} | settings.model_dump(mode="json")
    return head + yaml.safe_dump(data, sort_keys=False, width=100)


def is_ours(file: Path) -> bool:
    """Returns whether a settings file was written by ``dump``, not by a user, whose comments count."""
    return read_file(file).startswith(_HEAD.encode())


def put(data: dict[str, Any], override: Override) -> None:
    """Sets one key in place; a section that is not there is made, so that a misspelt one meets the parser.

    Raises:
        SettingsError: the key leads through a plain value, or to a position that a list does not have.
    """
    *parents, last = override.key.split(".")
    node: Any = data
    for depth, name in enumerate(parents):
        inner = node[_position(node, name, override)] if isinstance(node, list) else node.get(name)
        if not isinstance(inner, dict | list):
            if inner is not None:
                path = ".".join(parents[: depth + 1])
                raise SettingsError.of(
                    [Problem(override.source, override.key, f"{path} is no section", shown(inner))]
                )
            inner = node[name] = {}
        node = inner
    node[_position(node, last, override) if isinstance(node, list) else last] = override.value


def sourced(problem: Problem, overrides: Sequence[Override]) -> Problem:
    """Returns the problem under the name of the option that set its value, if one did."""
    for override in reversed(overrides):
        inside = f"{problem.where}.".startswith(f"{override.key}.")
        above = problem.what == "unknown key" and f"{override.key}.".startswith(f"{problem.where}.")
        if inside or above:
            return replace(problem, file=override.source)
    return problem


def _parsed(data: dict[str, Any], name: str, overrides: Sequence[Override]) -> Settings:
    for override in overrides:
        put(data, override)
    try:
        return parse(data, source=name)
    except SettingsError as error:
        raise SettingsError.of([sourced(problem, overrides) for problem in error.problems]) from None


def _find(source: str) -> tuple[str, bytes]:
    """Reads a file, or the preset of that name; gives its name for messages too."""
    path = Path(source)
    if os.path.isfile(path):  # Path.is_file raises for names that are too long
        return path.name, read_file(path)
    known = presets()
    if source in known:
        return source, (resources.files("deployments") / "presets" / f"{source}.yaml").read_bytes()
    what = (
        "is a folder, not a settings file"
        if os.path.isdir(path)
        else "no such file, and no preset of that name"
    )
    near = difflib.get_close_matches(path.name.removesuffix(".yaml"), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputMissing(f"{source}: {what}; {hint}presets: {', '.join(known)}")


def _position(items: list[Any], name: str, override: Override) -> int:
    if not name.isdecimal() or int(name) >= len(items):
        what = f"list index must be in 0..{len(items) - 1}"
        raise SettingsError.of([Problem(override.source, override.key, what, name)])
    return int(name)
