"""`jdn init`: settings that suit photos, a checkpoint and this machine, each with its reason.

Imports inside functions keep ``jdn --help`` quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, say

if TYPE_CHECKING:
    from rich.console import Console

    from flows.inputs.suggested import Suggested
    from jdn_core.run.estimates import Estimate

_OUT = Path("settings.yaml")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    example = "Example: jdn init photos --checkpoint faster_rcnn.pth --out mine.yaml"
    app.command("init", epilog=example)(answering(init))


def init(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", help="Dataset folder: COCO format, YOLO or PASCAL VOC."),
    ] = None,
    checkpoint: options.Checkpoint = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Settings file to write.")] = _OUT,
    train_json: options.TrainJson = None,
    train_images: options.TrainImages = None,
    val_json: options.ValJson = None,
    val_images: options.ValImages = None,
    device: options.Device = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Make settings that suit photos, checkpoint and machine. Each choice has its reason beside it."""
    from flows.inputs.suggested import written
    from flows.launch import initial
    from jdn_core.run.datasets import described
    from jdn_core.run.estimates import estimate
    from jdn_core.storage import durable

    initial.require_new(out)
    places = {
        "root": data,
        "train_json": train_json,
        "train_images": train_images,
        "val_json": val_json,
        "val_images": val_images,
    }
    found = initial.looked_at(
        places, checkpoint=checkpoint, device=device or "auto", drop_bad_boxes=drop_bad_boxes
    )
    for line in described(found.settings.data):
        say(line)
    say("measuring a step of each kind for the estimate")
    taken = estimate(found.settings)
    durable.write_text(out, written(found))
    return Answer(_plain(found, taken, out), lambda screen: _show(screen, found, taken, out))


def _plain(found: Suggested, taken: Estimate, out: Path) -> dict[str, Any]:
    made, photos = found.suggestion, found.survey
    return {
        "settings": str(out),
        "images": photos.train + photos.val,
        "train": photos.train,
        "val": photos.val,
        "boxes": photos.boxes,
        "classes": list(photos.classes),
        "resolutions": [str(frame) for frame in made.frames],
        "anchor_sizes": list(made.anchors.anchors.sizes),
        "aspect_ratios": list(made.anchors.anchors.ratios),
        "anchor_recall": {"before": made.anchors.before, "after": made.anchors.after},
        "checkpoint": found.begin.title or None,
        "machine": str(found.machine),
        "estimate": taken.to_json(),
    }


def _show(screen: Console, found: Suggested, taken: Estimate, out: Path) -> None:
    from flows.estimating import advice, in_words
    from flows.inputs.suggested import in_short

    lines = [*in_short(found), f"estimate: {in_words(taken)}", *advice(taken, found.settings)]
    lines += [f"written: {out}, with the reason of each choice", f"next: jdn upgrade {out}"]
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)
