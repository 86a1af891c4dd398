"""What a run is asked for: settings with the command line on top, checked against this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.inputs.folders import absolute
from flows.inputs.other_formats import in_coco
from flows.inputs.settings_file import PLACES, Override, load, read_back, read_set, sourced
from jdn_core.errors import InputMissing, SettingsError, UsageError
from jdn_core.processes import devices
from jdn_core.run.file_names import SETTINGS_FILE
from jdn_core.settings.data import DataSettings
from jdn_core.settings.whole import Settings

# Options that are not at the top of the settings.
_KEYS = {"workers": "search.workers", "checkpoint": "detector.pretrained"}
_KEYS |= {key: f"data.{key}" for key in PLACES}


def overrides(
    *,
    sets: Sequence[str] | None = None,
    data: Path | None = None,
    drop_bad_boxes: bool = False,
    **options: Path | str | int | None,
) -> list[Override]:
    """Collects what a command line says of the settings; the later one wins.

    Args:
        sets: texts of ``--set``.
        data: dataset folder.
        drop_bad_boxes: of the option of that name.
        options: ``name``, ``device``, ``threads``, ``workers``, ``checkpoint``, ``train_json`` and other
            places of the data; None leaves the file's value.

    Raises:
        SettingsError: a text of ``--set`` cannot be read.
    """
    found = read_set(sets or ())
    found += [
        Override(f"--{name.replace('_', '-')}", _KEYS.get(name, name), _plain(value))
        for name, value in options.items()
        if value is not None
    ]
    if data is not None:
        found.append(Override("--data", "data.root", str(data)))
    if drop_bad_boxes:
        found.append(Override("--drop-bad-boxes", "data.drop_bad_boxes", True))
    return found


def _plain(value: Path | str | int) -> str | int:
    return str(value) if isinstance(value, Path) else value


def of_source(source: str, changes: Sequence[Override] = ()) -> Settings:
    """Reads the settings of a new run from a file or a preset; raises as ``load`` and ``suited`` do."""
    return suited(load(source, changes), source, changes)


def of_folder(folder: Path, changes: Sequence[Override] = ()) -> Settings:
    """Reads the settings of a run that goes on; raises as ``read_back`` and ``suited`` do."""
    return suited(read_back(folder, changes), SETTINGS_FILE, changes)


def suited(settings: Settings, source: str, changes: Sequence[Override] = ()) -> Settings:
    """Returns settings that this machine can follow, with absolute paths, so that a resume works anywhere.

    Args:
        settings: as they were asked for.
        source: what they came from, for messages.
        changes: values that the command line put on top.

    Raises:
        SettingsError: they ask for a device that is not here.
        UsageError: they name no dataset.
        InputMissing: dataset or checkpoint are not where they say.
    """
    if problem := devices.problem(settings.device, source=source):
        raise SettingsError.of([sourced(problem, changes)])
    if settings.data.root is None and settings.data.train_json is None:
        raise UsageError("no dataset: give --data DIR, or --train-json FILE, or data.root in the settings")
    found: dict[str, Any] = {"data": with_places(settings.data)}
    if (file := settings.detector.pretrained) is not None:
        if not (file := absolute(file)).is_file():
            raise InputMissing(f"{file}: no such file; detector.pretrained names a checkpoint")
        found["detector"] = settings.detector.model_copy(update={"pretrained": file})
    return settings.model_copy(update=found)


def with_places(data: DataSettings) -> DataSettings:
    """Returns the data's settings with absolute paths; raises InputMissing where one of them is not there."""
    found = {key: absolute(path) for key in PLACES if (path := getattr(data, key)) is not None}
    if root := found.get("root"):
        found["root"] = in_coco(root, drop_bad_boxes=data.drop_bad_boxes)
    for key, path in found.items():
        if key.endswith("_json") and not path.is_file():
            raise InputMissing(f"{path}: no such file; data.{key} names an annotation file")
        if not key.endswith("_json") and not path.is_dir():
            raise InputMissing(
                f"{path}: no such dataset folder" if key == "root" else f"{path}: no such folder"
            )
    return data.model_copy(update=found)
