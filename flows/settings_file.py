"""Settings as YAML: read strictly, overridden by the command line, written whole into a search's folder."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import yaml

from jdn_core.errors import InputMissing, Problem, SettingsError
from jdn_core.settings import Settings, parse


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


class _StrictLoader(yaml.SafeLoader):
    """YAML without repeated keys, and with ``1e-4`` for a number, which YAML 1.1 takes for text."""

    key_tags = frozenset({"tag:yaml.org,2002:str"})


class _NumberedLoader(_StrictLoader):
    """The same with whole numbers for keys too, as datasets number their classes."""

    key_tags = _StrictLoader.key_tags | {"tag:yaml.org,2002:int"}


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in loader.key_tags:
            raise yaml.constructor.ConstructorError(
                problem="keys must be plain text", problem_mark=key.start_mark
            )
        if key.value in first:
            what = f"key {key.value!r} was given already in line {first[key.value]}"
            raise yaml.constructor.ConstructorError(problem=what, problem_mark=key.start_mark)
        first[key.value] = key.start_mark.line + 1
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(source: str, overrides: Sequence[Override] = ()) -> Settings:
    """Reads a settings file, or a preset by its name, and puts the overrides on top; the later one wins.

    Raises:
        InputMissing: ``source`` is neither a file nor a preset; the message names the nearest preset.
        SettingsError: all rules that do not hold, those of an override under the name of its option.
    """
    name, text = _find(source)
    data = read_yaml(text, name)
    for override in overrides:
        put(data, override)
    try:
        return parse(data, source=name)
    except SettingsError as error:
        raise SettingsError.of([sourced(problem, overrides) for problem in error.problems]) from None


def read_yaml(text: bytes | str, name: str, *, numbered: bool = False) -> dict[str, Any]:
    """One mapping out of YAML text; ``name`` is the file's, for messages.

    With ``numbered``, mappings may have whole numbers for keys.

    Raises:
        SettingsError: not YAML, a repeated key, a tag, nothing in it, or no mapping at the top.
    """
    try:
        loader = _NumberedLoader if numbered else _StrictLoader
        data = yaml.load(text, loader)  # noqa: S506 - a SafeLoader underneath
    except yaml.YAMLError as error:
        raise SettingsError.of([_syntax_problem(error, name)]) from None
    except RecursionError:
        raise SettingsError.of([Problem(name, "", "is nested too deeply")]) from None
    if data is None:
        raise SettingsError.of(
            [Problem(name, "", "is empty", remedy=f"start from a preset: {', '.join(presets())}")]
        )
    if not isinstance(data, dict):
        raise SettingsError.of([Problem(name, "", "must be a mapping of sections", type(data).__name__)])
    return data


def read_set(texts: Iterable[str]) -> list[Override]:
    """``--set a.b=c`` options; the value is YAML: ``3``, ``0.1``, ``true``, ``null``, ``[1, 2]`` or text."""
    overrides, problems = [], []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.strip().split(".")):
            problems.append(Problem("--set", "", "must look like search.iterations=24", repr(text)))
            continue
        try:
            overrides.append(Override("--set", key.strip(), yaml.load(value, _StrictLoader)))  # noqa: S506
        except yaml.YAMLError as error:
            problems.append(replace(_syntax_problem(error, "--set"), where=key.strip()))
    if problems:
        raise SettingsError.of(problems)
    return overrides


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    folder = resources.files("deployments") / "presets"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def dump(settings: Settings) -> str:
    """Settings as YAML text, every key spelt out; ``load`` gives back equal settings."""
    head = f"# All settings of a run of jdn {metadata.version('jdn')}; `jdn resume` reads them.\n"
    return head + yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, width=100)


def put(data: dict[str, Any], override: Override) -> None:
    """Sets one key in place; a section that is not there is made, so that a misspelt one meets the parser.

    Raises:
        SettingsError: the key leads through a plain value, or to a place that a list does not have.
    """
    *parents, last = override.key.split(".")
    node: Any = data
    for depth, name in enumerate(parents):
        inner = node[_position(node, name, override)] if isinstance(node, list) else node.get(name)
        if not isinstance(inner, dict | list):
            if inner is not None:
                place = ".".join(parents[: depth + 1])
                raise SettingsError.of(
                    [Problem(override.source, override.key, f"{place} is no section", repr(inner))]
                )
            inner = node[name] = {}
        node = inner
    node[_position(node, last, override) if isinstance(node, list) else last] = override.value


def sourced(problem: Problem, overrides: Sequence[Override]) -> Problem:
    """The problem under the name of the option that set its value, if one did."""
    for override in reversed(overrides):
        inside = f"{problem.where}.".startswith(f"{override.key}.")
        above = problem.what == "unknown key" and f"{override.key}.".startswith(f"{problem.where}.")
        if inside or above:
            return replace(problem, file=override.source)
    return problem


def _find(source: str) -> tuple[str, bytes]:
    path = Path(source)
    if path.is_file():
        return path.name, path.read_bytes()
    known = presets()
    if source in known:
        return source, (resources.files("deployments") / "presets" / f"{source}.yaml").read_bytes()
    what = "is a folder, not a settings file" if path.is_dir() else "no such file, and no preset of that name"
    near = difflib.get_close_matches(path.name.removesuffix(".yaml"), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputMissing(f"{source}: {what}; {hint}presets: {', '.join(known)}")


def _position(items: list[Any], name: str, override: Override) -> int:
    if not name.isdecimal() or int(name) >= len(items):
        what = f"list index must be in 0..{len(items) - 1}"
        raise SettingsError.of([Problem(override.source, override.key, what, name)])
    return int(name)


def _syntax_problem(error: yaml.YAMLError, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = str(getattr(error, "problem", None) or error).splitlines()[0]
    if "could not determine a constructor for the tag" in what:
        tag = what.rsplit(" ", 1)[-1].strip("'")
        return Problem(
            name,
            f"line {mark.line + 1}" if mark else "",
            "tags are not allowed",
            tag,
            "write the plain value",
        )
    return Problem(name, f"line {mark.line + 1}" if mark else "", what)
