"""Settings for who brings photos alone: looked at, and suited to this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.inputs.folders import absolute, is_search
from flows.inputs.settings_file import PLACES, Override, changed
from flows.inputs.suggested import Suggested, suggested
from flows.launch.requests import suited, with_places
from jdn_core.errors import InputMissing, UsageError
from jdn_core.settings.data import DataSettings
from jdn_core.settings.whole import Settings


def require_new(file: Path) -> None:
    """Raises UsageError where a file is there already: its comments may be somebody's own."""
    if file.exists():
        raise UsageError(f"{file}: is there already; name another --out, or remove it")


def places(folder: str | None, given: dict[str, Any]) -> dict[str, Path | None]:
    """Takes what an upgrade was given of its photos out of its options, by the keys of the settings.

    Raises:
        UsageError: two datasets were named, or a search's folder.
    """
    named = {key: given.pop("data" if key == "root" else key) for key in PLACES}
    if folder is not None:
        if named["root"] is not None:
            raise UsageError(f"two datasets: {folder} and --data {named['root']}; give one of them")
        if is_search(Path(folder)):
            raise UsageError(f"{folder} is a search, not a dataset; `jdn resume {folder}` goes on with it")
        named["root"] = Path(folder)
    return named


def laid_over(found: Suggested, changes: Sequence[Override]) -> Settings:
    """Returns the settings with the command line on top; raises as ``requests.suited`` does."""
    return suited(changed(found.settings, changes), "suggested settings", changes)


def looked_at(
    places: Mapping[str, Path | None],
    *,
    checkpoint: Path | None = None,
    device: str = "auto",
    drop_bad_boxes: bool = False,
) -> Suggested:
    """Makes settings for photos, a checkpoint and this machine.

    Args:
        places: keys of the data's settings, such as ``root``, and what was named for them.
        checkpoint: that the base begins with.
        device: as the settings have it.
        drop_bad_boxes: leave unusable boxes out.

    Raises:
        UsageError: no dataset was named.
        InputMissing, DataError, CheckpointError, SettingsError: as ``suggested`` does.
    """
    named = {key: path for key, path in places.items() if path is not None}
    if not {"root", "train_json"} & named.keys():
        raise UsageError("no dataset: name its folder, or its annotations with --train-json FILE")
    data = with_places(DataSettings.model_validate({**named, "drop_bad_boxes": drop_bad_boxes}))
    if checkpoint is not None:
        checkpoint = absolute(checkpoint)
        if not checkpoint.is_file():
            raise InputMissing(f"{checkpoint}: no such file; --checkpoint names one of a detector")
    return suggested(data, checkpoint=checkpoint, device=device)
