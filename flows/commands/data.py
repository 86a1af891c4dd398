"""`jdn data`: look a dataset over before it costs a night, or draw one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands import options
from flows.console import Answer, answering, report_error


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    group.command("check", epilog="Example: jdn data check photos")(answering(check))
    group.command("shapes", epilog="Example: jdn data shapes shapes --images 200 --size 128 --seed 0")(
        answering(shapes)
    )
    app.add_typer(
        group, name="data", help="Check a dataset, or draw one.", epilog="Example: jdn data check photos"
    )


def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A dataset's folder, or one annotation file.")],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the images of an annotation file.")
    ] = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Every problem of a dataset at once; ends 65 if there are any."""
    from dataclasses import asdict

    from rich.console import Console

    from jdn_core.data.coco import check as check_dataset
    from jdn_core.errors import DataError

    found = check_dataset(path, images=images, drop_bad_boxes=drop_bad_boxes)

    def show(screen: Console) -> None:
        if found.problems:
            report_error(DataError.of(found.problems), as_json=False)
        for note in found.notes:
            screen.print(note, markup=False, soft_wrap=True)
        counts = f"{found.images} images, {found.boxes} boxes, {found.categories} categories"
        screen.print(f"{path}: {counts}, problems: {len(found.problems)}", markup=False)

    problems = [asdict(problem) for problem in found.problems]
    data = {
        "ok": found.ok,
        "problems": problems,
        "notes": list(found.notes),
        "images": found.images,
        "boxes": found.boxes,
        "categories": found.categories,
    }
    return Answer(data, show, exit_code=0 if found.ok else DataError.exit_code)


def shapes(
    folder: Annotated[Path, typer.Argument(metavar="DST", help="Folder to make.")],
    images: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images, a fifth of them for validation.")
    ] = 200,
    size: Annotated[int, typer.Option(min=32, metavar="S", help="Longer side in pixels.")] = 128,
    seed: Annotated[int, typer.Option(min=0, metavar="K", help="The same seed draws the same bytes.")] = 0,
    json: options.Json = False,
) -> Answer:
    """Draw a COCO-format dataset of shapes, train and val, that tells detectors apart."""
    from jdn_core.data.shapes import generate

    counts = generate(folder, images=images, size=size, seed=seed)
    text = ", ".join(f"{number} {name}" for name, number in counts.items())
    return Answer(dict(counts), lambda screen: screen.print(f"{folder}: {text}", markup=False))
