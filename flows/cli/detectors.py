"""`jdn evaluate` and `jdn predict`: a detector on a dataset, and on pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli import options
from flows.console import Answer, answering, showing_progress, table

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A detector's folder, an exported file, a search's folder (its result), SEARCH#INDEX, or "
        "models:/NAME@ALIAS.",
    ),
]
Pair = Annotated[
    int | None, typer.Option("--pair", min=0, metavar="I", help="Index of a pair of the search.")
]
Frame = Annotated[
    str | None, typer.Option("--resolution", metavar="WxH", help="Input frame. [default: the detector's own]")
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("evaluate", epilog="Example: jdn evaluate runs/first --data photos")(answering(evaluate))
    app.command("predict", epilog="Example: jdn predict runs/first street.jpg --out pictures")(
        answering(predict)
    )


def evaluate(
    model: Model,
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", help="Dataset folder in COCO format, or an annotation file."),
    ],
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Folder of the images, if it is another one."),
    ] = None,
    split: Annotated[str, typer.Option(metavar="train|val|test", help="Which part of the dataset.")] = "val",
    pair: Pair = None,
    resolution: Frame = None,
    device: options.Device = None,
    drop_bad_boxes: options.DropBadBoxes = False,
    match_classes: Annotated[
        str, typer.Option("--match-classes", metavar="name|id", help="By what classes are the same.")
    ] = "name",
    json: options.Json = False,
) -> Answer:
    """COCO's twelve numbers of a detector, and AP per class."""
    from flows.inputs import models

    with models.opened(model, pair=pair, resolution=resolution) as found:
        dataset = models.read_split(data, split, drop_bad_boxes=drop_bad_boxes, images=images)
        with showing_progress():
            numbers = models.evaluate(found, dataset, device=device or "auto", match=match_classes)
    shown = model if model.startswith("models:") else str(found.folder)

    def show(screen: Any) -> None:
        screen.print(f"{shown} at {found.resolution} on {len(dataset.images)} images of {data}", markup=False)
        rows = [(name, f"{value:.4f}") for name, value in numbers.items() if name != "per_class"]
        screen.print(table(["number", "value"], rows))
        screen.print(
            table(["class", "AP"], [(name, f"{value:.4f}") for name, value in numbers["per_class"].items()])
        )

    return Answer({**numbers, "resolution": str(found.resolution)}, show)


def predict(
    model: Model,
    pictures: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures to look at, or folders of pictures.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the pictures with their boxes.")
    ] = None,
    score: Annotated[
        float, typer.Option(min=0, max=1, metavar="S", help="Leave out boxes below this score.")
    ] = 0.5,
    pair: Pair = None,
    resolution: Frame = None,
    device: options.Device = None,
    json: options.Json = False,
) -> Answer:
    """Boxes on pictures, in COCO's results form. `image_id` is the picture's path."""
    from flows.inputs import models, photos

    looked_at = photos.named(pictures)
    with (
        models.opened(model, pair=pair, resolution=resolution) as found,
        showing_progress(),
    ):
        detections, drawn = models.predict(
            found, looked_at.pictures, out=out, least=score, device=device or "auto"
        )

    def show(screen: Any) -> None:
        rows = [
            (
                hit["image_id"],
                hit["category"],
                f"{hit['score']:.3f}",
                " ".join(f"{side:.0f}" for side in hit["bbox"]),
            )
            for hit in detections
        ]
        screen.print(table(["picture", "class", "score", "x y width height"], rows, left=2))
        for path in drawn:
            screen.print(f"drawn: {path}", markup=False, soft_wrap=True)
        if looked_at.hidden or looked_at.others:
            counts = f"{looked_at.hidden} hidden files, {looked_at.others} that are no pictures"
            screen.print(f"{len(looked_at.pictures)} pictures; passed over: {counts}", markup=False)

    data = {
        "detections": detections,
        "pictures": [str(path) for path in drawn],
        "images": len(looked_at.pictures),
    }
    return Answer(data | {"hidden": looked_at.hidden, "others": looked_at.others}, show)
