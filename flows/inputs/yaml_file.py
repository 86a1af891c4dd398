"""YAML read strictly: nothing that could run, grow or hide another value; errors name the line."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from jdn_core.errors import InputMissing, Problem, SettingsError, cut

_LARGEST = 2**18  # bytes; our own settings have 5000
_PREFIX = "tag:yaml.org,2002:"
_VALUES = frozenset(f"{_PREFIX}{kind}" for kind in ("null", "bool", "int", "float"))


class _StrictLoader(yaml.SafeLoader):
    """YAML without tags, aliases and repeated keys, and with ``1e-4`` for a number, not for text.

    Tags could name code, and aliases of aliases grow without end ("billion laughs"). Dates are text.
    """

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


class _TextLoader(_StrictLoader):
    """The same with every value as it is written, but for null: a class called 0012 is no octal number."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - never changed
        letter: [(tag, pattern) for tag, pattern in pairs if tag == f"{_PREFIX}null"]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_StrictLoader.add_implicit_resolver(
    f"{_PREFIX}float", re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_PREFIX}str":
            raise yaml.constructor.ConstructorError(
                problem="keys must be plain text", problem_mark=key.start_mark
            )
        if key.value in first:
            what = f"key {cut(repr(key.value))} was given already in line {first[key.value]}"
            raise yaml.constructor.ConstructorError(problem=what, problem_mark=key.start_mark)
        first[key.value] = key.start_mark.line + 1
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(f"{_PREFIX}map", _without_repeats)


def read_mapping(
    text: bytes | str, name: str, *, as_text: bool = False, if_empty: str = ""
) -> dict[str, Any]:
    """Reads the one mapping that YAML text must be.

    Args:
        text: of the file.
        name: of the file, for messages.
        as_text: every value but null is the text that is written, numbers too.
        if_empty: the remedy where there is nothing.

    Raises:
        SettingsError: too long, not YAML, a repeated key, a tag, an alias, empty, or no mapping at the top.
    """
    if len(text) > _LARGEST:
        raise SettingsError.of([Problem(name, "", f"must have at most {_LARGEST} bytes", "more")])
    data = _value(text, name, _TextLoader if as_text else _StrictLoader)
    if data is None:
        raise SettingsError.of([Problem(name, "", "is empty", remedy=if_empty)])
    if not isinstance(data, dict):
        raise SettingsError.of([Problem(name, "", "must be a mapping of sections", type(data).__name__)])
    return data


def read_file(path: Path) -> bytes:
    """Reads a file, up to one byte more than ``read_mapping`` takes.

    Raises:
        InputMissing: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST + 1)
    except OSError as error:
        raise InputMissing(f"{path}: cannot be read: {error.strerror}") from None


def read_value(text: str, name: str) -> Any:
    """Reads one YAML value: a number, text, a list ...; raises SettingsError with the one problem."""
    return _value(text, name, _StrictLoader)


def _value(text: bytes | str, name: str, loader: type[_StrictLoader]) -> Any:
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
