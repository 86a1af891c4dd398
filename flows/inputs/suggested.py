"""Settings made for photos, a checkpoint and this machine, and their file with a reason at every choice."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from jdn_core.detector.checkpoint_file import read_checkpoint
from jdn_core.detector.portrait import portrait
from jdn_core.errors import DataError
from jdn_core.run import datasets
from jdn_core.settings.data import DataSettings
from jdn_core.settings.values import LONGEST_NAME
from jdn_core.settings.whole import Settings, parse
from jdn_core.suggestion import machine
from jdn_core.suggestion.choices import SLIM, Begin, Choice, Setting, Suggestion, suggest
from jdn_core.suggestion.machine import Machine
from jdn_core.suggestion.survey import Survey, quantiles, survey

_WIDTH = 100
_SHARE = 0.4  # of the validation photos, held out
_FEWEST = 10  # validation photos, of which fewer are not divided
_FEW_BOXES = 10  # of a class
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Suggested:
    """What was found and what was made of it.

    Attributes:
        settings: whole, with absolute paths.
        suggestion: the choices behind them.
        survey: of the photos.
        machine: this one.
        begin: what the base begins with.
    """

    settings: Settings
    suggestion: Suggestion
    survey: Survey
    machine: Machine
    begin: Begin


def suggested(data: DataSettings, *, checkpoint: Path | None = None, device: str = "auto") -> Suggested:
    """Looks at photos, checkpoint and machine, and makes settings that suit them.

    Args:
        data: where the photos are, absolute.
        checkpoint: that the base begins with; none: from scratch.
        device: as the settings have it.

    Raises:
        InputMissing, DataError: the dataset is not there, or breaks rules.
        CheckpointError: the checkpoint cannot be read, or is of no known family.
        SettingsError: the device is not on this machine.
    """
    here = machine.look(device)
    train, val = datasets.checked(data)
    found = survey(train, val)
    begin = _begin(checkpoint, found.classes, here)
    places = {
        key: str(value)
        for key in ("root", "train_json", "train_images", "val_json", "val_images")
        if (value := getattr(data, key)) is not None
    }
    made = suggest(Setting(_name(data), places, found, here, begin, _holdout(data, found.val)))
    plain = made.plain()
    if data.drop_bad_boxes:
        plain["data"]["drop_bad_boxes"] = True
    return Suggested(parse(plain, source="suggested settings"), made, found, here, begin)


def written(found: Suggested) -> str:
    """Returns the settings as YAML text, section by section, a comment with the reason before each key."""
    lines = [
        f"# Settings for {found.survey.train} photos with {found.survey.boxes} boxes of "
        f"{len(found.survey.classes)} classes, made by `jdn init` on",
        f"# {found.machine}. What is not here has its default (docs/reference/settings.md).",
    ]
    section = ""
    for choice in found.suggestion.choices:
        first, dot, key = choice.key.partition(".")
        if dot and first != section:
            lines.append(f"{first}:")
            section = first
        lines += _lines(choice, key if dot else first, indent="  " if dot else "")
        if choice.key == "data.holdout" and found.settings.data.drop_bad_boxes:
            lines.append("  drop_bad_boxes: true")
    return "\n".join(lines) + "\n"


def in_short(found: Suggested) -> list[str]:
    """Says in a few lines what was found and what was chosen."""
    photos, made, settings = found.survey, found.suggestion, found.settings
    longer, shorter = photos.photo_size
    small, middle, large = (round(side) for side in quantiles(photos.box_sides))
    rare = [name for name, count in zip(photos.classes, photos.per_class, strict=True) if count < _FEW_BOXES]
    sides = f"sides of {small} to {large} px, half of them under {middle} px"
    boxes, base, pool = made.anchors, settings.base, settings.pool
    lines = [
        f"photos: {photos.train} to learn from, {photos.val} to measure on, {longer}x{shorter} as a rule",
        f"boxes: {photos.boxes} of {len(photos.classes)} classes, {sides}, up to {photos.crowded} in a photo",
        f"machine: {found.machine}",
        f"begins with: {found.begin.title or 'fresh weights'}",
        f"resolutions: {', '.join(map(str, made.frames))}",
        f"anchors: {', '.join(map(str, boxes.anchors.sizes))} px; an IoU of 0.5 with {boxes.after:.1%} of "
        f"the boxes (torchvision's own: {boxes.before:.1%})",
        f"trainings: base {base.epochs} epochs, pool {'+'.join(str(p.epochs) for p in pool.phases)}, "
        f"{settings.search.iterations} pairs of {settings.evaluation.epochs}; {base.batch} photos at a time",
        f"pool: {settings.subnet_space.size()} teachers, {pool.start}",
        f"held out: {made.reason('data.holdout')}",
    ]
    if rare:
        named = ", ".join(rare[:_NAMED]) + (", ..." if len(rare) > _NAMED else "")
        lines.append(f"caution: {len(rare)} classes have fewer than {_FEW_BOXES} boxes: {named}")
    if not found.begin.file:
        lines.append(
            "caution: fresh weights learn little from few photos; --checkpoint FILE begins with more"
        )
    return lines


def _lines(choice: Choice, key: str, *, indent: str) -> Iterator[str]:
    """Yields a key with its reason behind it, or above it where a line has no room for both."""
    rows = choice.value if isinstance(choice.value, list) else []
    rows = rows if rows and isinstance(rows[0], Mapping) else []
    line = f"{indent}{key}:" if rows else f"{indent}{key}: {_flow(choice.value)}"
    if len(line) + len(choice.why) <= _WIDTH:
        yield f"{line} # {choice.why}"
    else:
        yield from (f"{indent}# {part}" for part in textwrap.wrap(choice.why, _WIDTH - len(indent) - 2))
        yield line
    yield from (f"{indent}  - {_flow(each)}" for each in rows)


def _flow(value: Any) -> str:
    """Writes a value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _name(data: DataSettings) -> str:
    """Returns a name for the run, after the dataset's folder or file."""
    place = data.root or data.train_json
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", place.stem if place else "").strip("-._")
    return name[:LONGEST_NAME] or "photos"


def _holdout(data: DataSettings, val: int) -> tuple[float | Literal["test"], str]:
    """Returns the photos that the search never sees: a test split, a share of many, none of few; and why."""
    if datasets.has(data, "test"):
        try:
            datasets.checked(data.model_copy(update={"holdout": "test"}))
            return "test", "the dataset's test split, which the search never sees"
        except DataError:
            pass
    if val < _FEWEST:
        return 0.0, f"{val} validation photos are too few to hold some back"
    try:
        kept = datasets.held_out(data.model_copy(update={"holdout": _SHARE}))
    except DataError:
        return 0.0, "a share of the validation photos would have no box"
    photos = len(kept.images) if kept else 0
    return _SHARE, f"{photos} of the {val} validation photos, which the search never sees"


def _begin(checkpoint: Path | None, classes: tuple[str, ...], here: Machine) -> Begin:
    if checkpoint is None:
        return Begin() if here.gpu else SLIM
    found = portrait(read_checkpoint(checkpoint))
    known = {name.casefold() for name in found.names or ()}
    usual = Begin()
    return Begin(
        family=found.family,
        file=str(checkpoint),
        title=str(found),
        width=found.width,
        neck=found.neck or usual.neck,
        head=found.head or usual.head,
        shapes=found.shapes,
        is_whole=found.is_whole,
        knows_classes=found.is_whole and all(name.casefold() in known for name in classes),
    )
