"""`jdn data`: look a dataset over before it costs a night, bring one from another format, or draw one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.console import Answer, answering, report_error, showing_progress

if TYPE_CHECKING:
    from jdn_core.data.formats.source import Reader

_SHOWN = 3  # names of files in a line
Destination = Annotated[Path, typer.Argument(metavar="DST", help="Folder to make.")]
SplitSeed = Annotated[
    int, typer.Option(min=0, metavar="K", help="Draws a fifth for validation if there is no val split.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    group.command("check", epilog="Example: jdn data check photos")(answering(check))
    group.command("shapes", epilog="Example: jdn data shapes shapes --images 200 --size 128 --seed 0")(
        answering(shapes)
    )
    convert = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    convert.command("voc", epilog="Example: jdn data convert voc VOC2012 photos")(answering(convert_voc))
    convert.command("yolo", epilog="Example: jdn data convert yolo coco8 photos")(answering(convert_yolo))
    group.add_typer(
        convert,
        name="convert",
        help="Make a COCO-format dataset of one of PASCAL VOC or YOLO.",
        epilog="Example: jdn data convert voc VOC2012 photos",
    )
    app.add_typer(
        group,
        name="data",
        help="Check a dataset, convert one, or draw one.",
        epilog="Example: jdn data check photos",
    )


def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A dataset's folder, or one annotation file.")],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the images of an annotation file.")
    ] = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Find every problem of a dataset at once; ends 65 if there are any."""
    from dataclasses import asdict

    from rich.console import Console

    from flows.inputs.other_formats import in_coco
    from jdn_core.data.coco.checking import check as check_dataset
    from jdn_core.errors import DataError

    with showing_progress():
        looked_at = in_coco(path, drop_bad_boxes=drop_bad_boxes)
    found = check_dataset(looked_at, images=images, drop_bad_boxes=drop_bad_boxes)

    def show(screen: Console) -> None:
        if found.problems:
            report_error(DataError.of(found.problems), as_json=False)
        for note in found.notes:
            screen.print(note, markup=False, soft_wrap=True)
        counts = f"{found.images} images, {found.boxes} boxes, {found.categories} categories"
        screen.print(f"{path}: {counts}, problems: {len(found.problems)}", markup=False, soft_wrap=True)

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


def convert_voc(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help="Folder with Annotations and JPEGImages, or with XML beside the pictures."
        ),
    ],
    destination: Destination,
    seed: SplitSeed = 0,
    difficult_as_crowd: Annotated[
        bool,
        typer.Option(
            "--difficult-as-crowd", help="Neither learn nor score boxes marked difficult, as VOC does."
        ),
    ] = False,
    one_based: Annotated[
        bool,
        typer.Option("--one-based", help="Pixels are counted from 1, as in the original challenge."),
    ] = False,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Make a COCO-format dataset of a PASCAL VOC one; pictures are copied byte for byte."""
    from flows.inputs.other_formats import reader_of

    found = reader_of("voc", source, seed=seed, difficult_as_crowd=difficult_as_crowd, one_based=one_based)
    return _converted(*found, destination, drop_bad_boxes=drop_bad_boxes)


def convert_yolo(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Folder with a data.yaml, or such a file by another name.")
    ],
    destination: Destination,
    seed: SplitSeed = 0,
    drop_bad_boxes: options.DropBadBoxes = False,
    json: options.Json = False,
) -> Answer:
    """Make a COCO-format dataset of a YOLO one; pictures are copied byte for byte."""
    from flows.inputs.other_formats import reader_of

    return _converted(*reader_of("yolo", source, seed=seed), destination, drop_bad_boxes=drop_bad_boxes)


def shapes(
    folder: Destination,
    images: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images, a fifth of them for validation.")
    ] = 200,
    size: Annotated[int, typer.Option(min=32, metavar="S", help="Longer side in pixels.")] = 128,
    seed: Annotated[int, typer.Option(min=0, metavar="K", help="The same seed draws the same bytes.")] = 0,
    least: Annotated[
        float,
        typer.Option(
            "--least",
            metavar="S",
            help="Side of the smallest shapes as a share of the picture's, up to 0.5. [default: 1/16]",
            show_default=False,
        ),
    ] = 1 / 16,
    json: options.Json = False,
) -> Answer:
    """Draw a COCO-format dataset of shapes, train and val, that tells detectors apart."""
    from jdn_core.data.shapes import generate

    counts = generate(folder, images=images, size=size, seed=seed, least=least)
    return _counted(folder, counts)


def _converted(source: Path, reader: Reader, destination: Path, *, drop_bad_boxes: bool) -> Answer:
    from rich.console import Console

    from jdn_core.data.formats.conversion import convert

    with showing_progress():
        made = convert(source, destination, reader, drop_bad_boxes=drop_bad_boxes)
    reasons: dict[str, list[str]] = {}
    for file, reason in made.left_out.items():
        reasons.setdefault(reason, []).append(file.as_posix())

    def show(screen: Console) -> None:
        lines = [f"splits: {made.rule}", *made.notes]
        lines += [f"left out: {reason}: {_some(files)}" for reason, files in reasons.items()]
        lines.append(f"{made.used} of {made.used + len(made.left_out)} files of {source} were used")
        for line in lines:
            screen.print(line, markup=False, soft_wrap=True)
        screen.print(f"{destination}: {_text(made.counts)}", markup=False, soft_wrap=True)

    account = {"rule": made.rule, "notes": list(made.notes), "used": made.used, "left_out": reasons}
    return Answer(dict(made.counts) | account, show)


def _some(files: Sequence[str]) -> str:
    """Counts files and names the first few; `--json` has them all."""
    return f"{len(files)} ({', '.join(files[:_SHOWN])}{', ...' if len(files) > _SHOWN else ''})"


def _counted(folder: Path, counts: Mapping[str, int]) -> Answer:
    return Answer(dict(counts), lambda screen: screen.print(f"{folder}: {_text(counts)}", markup=False))


def _text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())
