"""Settings as YAML: read strictly, overridden by the command line, written whole into a search's folder."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import yaml

from jdn_core.errors import InputMissing, Problem, SettingsError, cut, shown
from jdn_core.settings.whole import Settings, parse


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


_LARGEST = 2**18  # bytes; our own settings have 5000
_PREFIX = "tag:yaml.org,2002:"
_VALUES = frozenset(f"{_PREFIX}{kind}" for kind in ("null", "bool", "int", "float"))


class _StrictLoader(yaml.SafeLoader):
    """YAML without tags, aliases and repeated keys, and with ``1e-4`` for a number, not for text.

    Tags could name code, and aliases of aliases grow without end. Dates are text.
    """

    key_tags = frozenset({f"{_PREFIX}str"})
    yaml_implicit_resolvers = {  # noqa: RUF012 - add_implicit_resolver copies what it changes
        letter: [(tag, pattern) for tag, pattern in pairs if tag in _VALUES]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        tag = getattr(event, "tag", None)
        if tag is not None:
            what, value = "tags are not allowed", str(tag)
        elif isinstance(event, yaml.AliasEvent):
            what, value = "aliases are not allowed", f"*{event.anchor}"
        else:
            return super().compose_node(parent, index)
        raise yaml.composer.ComposerError(
            problem=f"{what}, got {cut(value)}; write the plain value", problem_mark=event.start_mark
        )


class _NumberedLoader(_StrictLoader):
    """The same with whole numbers for keys too, as datasets number their classes."""

    key_tags = _StrictLoader.key_tags | {f"{_PREFIX}int"}


_StrictLoader.add_implicit_resolver(
    f"{_PREFIX}float", re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in loader.key_tags:
            raise yaml.constructor.ConstructorError(
                problem="keys must be plain text", problem_mark=key.start_mark
            )
        if key.value in first:
            what = f"key {cut(repr(key.value))} was given already in line {first[key.value]}"
            raise yaml.constructor.ConstructorError(problem=what, problem_mark=key.start_mark)
        first[key.value] = key.start_mark.line + 1
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(f"{_PREFIX}map", _mapping)


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
        SettingsError: too long, not YAML, a repeated key, a tag, an alias, empty, or no mapping at the top.
    """
    if len(text) > _LARGEST:
        raise SettingsError.of([Problem(name, "", f"must have at most {_LARGEST} bytes", "more")])
    data = _value(text, name, _NumberedLoader if numbered else _StrictLoader)
    if data is None:
        raise SettingsError.of(
            [Problem(name, "", "is empty", remedy=f"start from a preset: {', '.join(presets())}")]
        )
    if not isinstance(data, dict):
        raise SettingsError.of([Problem(name, "", "must be a mapping of sections", type(data).__name__)])
    return data


def read_file(path: Path) -> bytes:
    """What YAML a file can hold, and a little more where it is too long for ``read_yaml``.

    Raises:
        InputMissing: nobody may read it.
    """
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST + 1)
    except OSError as error:
        raise InputMissing(f"{path}: cannot be read: {error.strerror}") from None


def read_set(texts: Iterable[str]) -> list[Override]:
    """``--set a.b=c`` options; the value is YAML: ``3``, ``0.1``, ``true``, ``null``, ``[1, 2]`` or text."""
    overrides, problems = [], []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.strip().split(".")):
            problems.append(Problem("--set", "", "must look like search.iterations=24", shown(text)))
            continue
        try:
            overrides.append(Override("--set", key.strip(), _value(value, "--set", _StrictLoader)))
        except SettingsError as error:
            problems += [replace(problem, where=key.strip()) for problem in error.problems]
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
                    [Problem(override.source, override.key, f"{place} is no section", shown(inner))]
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
    if os.path.isfile(path):  # pathlib does not forgive names that are too long
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


def _value(text: bytes | str, name: str, loader: type[_StrictLoader]) -> Any:
    """Any YAML value; raises SettingsError with the one problem that stopped the reader."""
    try:
        return yaml.load(text, loader)  # noqa: S506 - a SafeLoader underneath
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = str(getattr(error, "problem", None) or error).splitlines()[0]
        problem = Problem(name, f"line {mark.line + 1}" if mark else "", what)
    except RecursionError:
        problem = Problem(name, "", "is nested too deeply")
    except (ValueError, OverflowError) as error:  # 0x_, numbers of 5000 digits, letters beyond Unicode
        problem = Problem(name, "", f"holds what YAML cannot read: {str(error).partition(':')[0]}")
    raise SettingsError.of([problem])
