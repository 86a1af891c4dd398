"""Writes the pages of docs/reference from settings, commands, errors, presets: ``python -m docs.generate``.

A test compares the pages with what this module would write, so a change of a setting comes with its page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import click
import typer
import yaml

from flows.cli.main import app
from jdn_core import errors
from jdn_core.settings.whole import Settings

FOLDER = Path(__file__).parent / "reference"
_NOTE = "<!-- Written by `make docs` out of the code; change it there. -->"
_WIDTH = 90
_RANGES = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    "minItems": "({} at least)",
}
_NO_BOUND = (2**31 - 1, 2**64)  # what a C integer and a seed can hold; a reader expects no more


def pages() -> dict[str, str]:
    """Text of every generated page by its file's name."""
    found = {
        "settings.md": _settings(),
        "commands.md": _commands(),
        "errors.md": _errors(),
        "presets.md": _presets(),
    }
    return {name: f"{_NOTE}\n\n{text.strip()}\n" for name, text in found.items()}


def main() -> None:
    """Writes the pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


def _settings() -> str:
    schema = Settings.model_json_schema()
    parts = [
        "# Settings",
        "A settings file is YAML. Every key has a default, so a file names only what it changes; the "
        "settings that a run used are written whole into its folder. `--set section.key=value` "
        "changes one value on the command line. *Ours* in a description marks "
        "a choice that the paper does not make.",
        *_section("", schema, schema["$defs"]),
    ]
    return "\n\n".join(parts)


def _section(prefix: str, schema: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    """A section's table, then those of the sections inside it."""
    rows, inner = [], []
    for name, field in schema["properties"].items():
        section = _model(field, known)
        repeated = "[]" if field.get("type") == "array" else ""
        if section is not None:
            inner.append((f"{prefix}{name}{repeated}.", section))
            if not repeated:
                continue
        rows.append(_row(f"{prefix}{name}", field, known, required=name in schema.get("required", ())))
    yield f"## {prefix.rstrip('.') or 'At the top'}"
    yield _plain(schema.get("description", ""))
    if rows:
        yield _table(("key", "takes", "default", "meaning"), rows)
    for place, section in inner:
        yield from _section(place, section, known)


def _model(field: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The section that a field holds, or a list of which it holds; None for a plain value."""
    reference = field.get("$ref") or field.get("items", {}).get("$ref")
    found = known[reference.rpartition("/")[2]] if reference else None
    return found if found and "properties" in found else None


def _row(key: str, field: Mapping[str, Any], known: Mapping[str, Any], *, required: bool) -> tuple[str, ...]:
    default = "(needed)" if required else _value(field.get("default"))
    return (f"`{key}`", _kind(field, known), default, _plain(field.get("description", "")))


def _kind(field: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """What a field takes, in a reader's words."""
    if "$ref" in field:
        return _kind(known[field["$ref"].rpartition("/")[2]], known)
    if "anyOf" in field:
        return " or ".join(_kind(each, known) for each in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = {"null": "none", "string": "text", "boolean": "`true`, `false`", "integer": "whole number"}.get(
        field.get("type", ""), field.get("type", "value")
    )
    if kind == "array":
        inner = field.get("items") or (field.get("prefixItems") or [{}])[0]
        kind = f"list of {_kind(inner, known) if inner else 'values'}"
    bounds = [
        text.format(field[name])
        for name, text in _RANGES.items()
        if name in field and field[name] not in _NO_BOUND and not (name == "minItems" and "maxItems" in field)
    ]
    if "maxItems" in field:
        bounds.append(f"({field['maxItems']} of them)")
    return " ".join([kind, ", ".join(bounds)]).strip()


def _value(value: Any) -> str:
    if value is None:
        return "none"
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= _WIDTH else "see the file that `jdn` writes"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _commands() -> str:
    group = typer.main.get_command(app)
    parts = [
        "# Commands",
        "What `jdn COMMAND --help` prints. With `--json` a command prints one JSON object on standard "
        "output, and nothing else there.",
    ]
    found = dict(_helps(group, "jdn"))
    parts.append(_table(("command", "does"), [(f"`{name}`", _does(text)) for name, text in found.items()]))
    parts += [f"## {name}\n\n```text\n{text}\n```" for name, text in found.items()]
    return "\n\n".join(parts)


def _does(text: str) -> str:
    """The sentences of a help text, between its first line and the arguments."""
    return _plain(text.split("\n\n")[1])


def _helps(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """Name and help of a command and of all below it; of a group itself only what is below."""
    below = getattr(command, "commands", None)
    if below is None:
        context = click.Context(
            command,
            info_name=name,
            max_content_width=_WIDTH,
            terminal_width=_WIDTH,
            help_option_names=["-h", "--help"],
        )
        yield name, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        return
    for part, inner in below.items():
        yield from _helps(inner, f"{name} {part}")


def _errors() -> str:
    kinds = sorted(_below(errors.UserError), key=lambda kind: (kind.exit_code, kind.__name__))
    rows = [(str(kind.exit_code), f"`{kind.__name__}`", _plain(kind.__doc__ or "")) for kind in kinds]
    return "\n\n".join(
        (
            "# Errors and exit codes",
            "A command that cannot go on prints `ERROR CODE file: place: what is wrong, got VALUE; what to "
            f"do`, one line for each problem, {errors.MOST_PROBLEMS} at the most, and ends with the code. 0 "
            "means done, 143 stopped by SIGTERM, 130 by Ctrl-C; 70 is a fault of the program: run `jdn "
            "--debug COMMAND ...` and report the traceback.",
            _table(("exit code", "error", "meaning"), rows),
        )
    )


def _below(kind: type[errors.UserError]) -> Iterator[type[errors.UserError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
        yield from _below(child)


def _presets() -> str:
    files = sorted(
        (
            Path(str(file))
            for file in resources.files("deployments.presets").iterdir()
            if file.name.endswith(".yaml")
        ),
        key=lambda file: file.stem,
    )
    default = dict(_flat(Settings().model_dump(mode="json")))
    changed = {file.stem: dict(_flat(yaml.safe_load(file.read_text()))) for file in files}
    keys = sorted({key for values in changed.values() for key in values})
    rows = [
        (
            f"`{key}`",
            *(_cell(values.get(key, default.get(key)), default.get(key)) for values in changed.values()),
        )
        for key in keys
        if key != "name"
        and any(values.get(key, default.get(key)) != default.get(key) for values in changed.values())
    ]
    notes = [f"- `{file.stem}`: {_opening(file)}" for file in files]
    return "\n\n".join(
        (
            "# Presets",
            "A preset is a whole settings file in `deployments/presets`: copy it and change what you need. "
            "The table has what each one changes; an empty cell is the default of [settings](settings.md).",
            "\n".join(notes),
            _table(("key", *changed), rows),
        )
    )


def _opening(file: Path) -> str:
    lines = [line.removeprefix("#").strip() for line in file.read_text().splitlines() if line.startswith("#")]
    return " ".join(line for line in lines if not line.startswith("jdn "))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, each in enumerate(value):
                yield from _flat(each, f"{prefix}{name}.{number}.")
        else:
            yield f"{prefix}{name}", value


def _cell(value: Any, default: Any) -> str:
    return "" if value == default else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    main()
