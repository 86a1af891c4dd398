"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from jdn_core.space.architecture import Resolution

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else.")
]
Source = Annotated[str, typer.Argument(metavar="SETTINGS", help="A settings file, or the name of a preset.")]
Photos = Annotated[
    str | None,
    typer.Argument(
        metavar="[SETTINGS]",
        help="A settings file, the name of a preset, or a dataset's folder, for which settings are made.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", metavar="FILE", help="Begin with it: of torchvision, MMDetection or Detectron2."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Dataset folder: COCO format, YOLO or PASCAL VOC."),
]
TrainJson = Annotated[
    Path | None,
    typer.Option("--train-json", metavar="FILE", help="Annotations of the training images, by themselves."),
]
TrainImages = Annotated[
    Path | None, typer.Option("--train-images", metavar="DIR", help="Folder of the training images.")
]
ValJson = Annotated[
    Path | None,
    typer.Option(
        "--val-json", metavar="FILE", help="Annotations for validation. [default: a fifth of --train-json]"
    ),
]
ValImages = Annotated[
    Path | None, typer.Option("--val-images", metavar="DIR", help="Folder of the validation images.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Another value for one setting; may be repeated, the last wins."
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Name of the search and of its experiment.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder of the results; runs/NAME if not given.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", help="Evaluations at a time, each in a process of its own. [default: 1]"
    ),
]
Device = Annotated[str | None, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to train.")]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads of the training.")]
DropBadBoxes = Annotated[
    bool,
    typer.Option("--drop-bad-boxes", help="Leave unusable boxes out, counted, instead of refusing the data."),
]
Search = Annotated[Path, typer.Argument(metavar="SEARCH", help="A search's folder.")]


def frames(texts: Sequence[str]) -> list[Resolution]:
    """Parses the values of ``--resolution``, each once, smallest area first; raises UsageError."""
    from jdn_core.errors import UsageError
    from jdn_core.space.architecture import Resolution

    try:
        return sorted({Resolution.parse(text) for text in texts}, key=lambda frame: (frame.pixels, frame))
    except ValueError as error:
        raise UsageError(f"--resolution: {error}") from None
